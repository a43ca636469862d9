"""Controller of hints: shows the newest hint of the run in the work tab, and applies or hides it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metatui.config.fields import FIELDS, change, fixed_reason, text_of
from metatui.config.schedule import STEP_LIMIT
from metatui.config.settings import Settings
from metatui.events import Hinted
from metatui.tui.keyboard.actions import BY_ID, key_name, with_keys
from metatui.tui.model.run_model import RunModel
from metatui.utils.errors import BadInput

# Imported in the functions that use them, because the first frame does not need them.
if TYPE_CHECKING:
    from metatui.tui.app import MetatuiApp


class HintsController:
    def __init__(self, app: MetatuiApp) -> None:
        self._app = app

    @property
    def _model(self) -> RunModel | None:
        return self._app.run_controller.shown

    @property
    def current(self) -> Hinted | None:
        """The newest hint of the shown run."""
        return self._model.hints[-1] if self._model and self._model.hints else None

    @property
    def is_possible(self) -> bool:
        """Whether there is something to apply: a hint, or usual values that the form offers for an algorithm."""
        offer = self._app.form.offer
        return self.current is not None or (offer is not None and not offer.is_taken)

    @property
    def text(self) -> str:
        """The current hint and the keys that apply and hide it, or an empty string if there is no hint."""
        hint, model = self.current, self._model
        if hint is None or model is None:
            return ""
        more = f" ({len(model.hints) - 1} more)" if len(model.hints) > 1 else ""
        key, effect = key_name(BY_ID["hint"].key), self._effect(hint, model)
        return f"Hint{more}: {hint.reason}. {key} {effect}; {with_keys('{leave} hides the hint.')}"

    def _effect(self, hint: Hinted, model: RunModel) -> str:
        """Return what applying the hint would do now, as a phrase to write after the name of the key."""
        new = f"{FIELDS[hint.path].label.lower()} {text_of(hint.new)}"
        if not self._is_training(model):
            return f"puts the run's settings with {new} into the form"
        if not _is_live(hint, model):
            return f"puts the run's settings with {new} into the form when the run has ended"
        return "ends training now" if hint.kind == "overfitting" else f"sets {new}"

    def _is_training(self, model: RunModel) -> bool:
        client = self._app.run_controller.client
        return model is client.model and client.phase.active

    def action_hint(self) -> None:
        """Fill in the usual values that the form offers, or apply the current hint."""
        app, hint, model, offer = self._app, self.current, self._model, self._app.form.offer
        if offer and not offer.is_taken:
            app.form.action_take_usual()
            app.notify(offer.summary())
        elif hint and model and self._is_training(model) and _is_live(hint, model):
            app.run_controller.client.change(hint.path, hint.new)
            app.notify(f"{FIELDS[hint.path].label} changes to {text_of(hint.new)} after this meta-step.")
            self.hide()
        elif hint and app.run_controller.client.phase.active:
            label, stop = FIELDS[hint.path].label, key_name(BY_ID["stop"].key)
            app.notify(
                f"{label} cannot be changed during a run: stop the run ({stop}) or wait until it ends.",
                severity="warning",
            )
        elif hint and model:
            self._load(hint, model)

    def _load(self, hint: Hinted, model: RunModel) -> None:
        """Put the settings of a finished run, changed as the hint suggests, into the form."""
        try:
            own, origin = self._own_settings(model)
            settings = change(own, {hint.path: hint.new})
        except BadInput as error:
            self._app.notify_error(error)
            return
        self.hide()
        name = f"{model.run_id} with {FIELDS[hint.path].label.lower()} {text_of(hint.new)}"
        note = "The settings are those at the end of the run, with its live changes." if model.undoable else ""
        self._app.presets.load(settings, None, name, origin=origin, note=note)

    def _own_settings(self, model: RunModel) -> tuple[Settings, str | None]:
        """Return the settings at the end of the shown run, and its preset (marked as changed) or None.

        They are read from the run's folder if it exists, because the settings of `model` contain the device and the
        engine that were selected instead of `auto`.
        """
        from metatui.config.presets import as_changed
        from metatui.runs.execution.run_log import RunLog
        from metatui.runs.storage.summary import summarise

        run = self._app.runs.shown_from_disk()
        if run is None or not run.is_run():  # deleted
            return model.settings, None
        preset = summarise(run).preset
        return RunLog.read(run).settings_after(STEP_LIMIT), as_changed(preset) if preset else None

    def hide(self) -> None:
        """Hide the current hint."""
        if self._model and self._model.hints:
            self._model.hints.pop()
            self._app.run_controller.show_run()


def _is_live(hint: Hinted, model: RunModel) -> bool:
    return FIELDS[hint.path].live and fixed_reason(hint.path, model.settings) is None
