"""Controller of the work tab: starts a run, receives its events, sends it commands, and shows its state."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from textual.timer import Timer

from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, label_in_sentence, text_of
from metatui.events import Checkpoint, Checkpointed, Evaluate, Evaluated, Event, Failed, Finished, Started, Tweaked
from metatui.runs.formatting import headline, result_words
from metatui.tui.controllers.run_client import RunClient
from metatui.tui.controllers.sessions import Attached, OpenRun, Sessions
from metatui.tui.formatting import value
from metatui.tui.keyboard.actions import Phase, with_keys
from metatui.tui.model.run_model import RunModel
from metatui.tui.model.system_monitor import Load, Sampler
from metatui.tui.screens.main.curves import MarkedRun
from metatui.tui.screens.main.status_line import RunState
from metatui.tui.screens.main.work import no_adaptation
from metatui.tui.widgets.adaptation import RunViews
from metatui.utils.text import as_sentence, format_count

# Imported in the functions that use them, because the first frame does not need them.
if TYPE_CHECKING:
    from metatui.runs.storage.run_folder import RunFolder
    from metatui.tui.app import MetatuiApp

UPDATE_EVERY = 0.5
"""Seconds between updates of the screen while a run is training."""

SAMPLE_EVERY = 2.0
"""Seconds between measurements of the memory use and load of the run."""


class RunController:
    """Manages the run that the app is following, and the run that the work tab shows. These may be different runs."""

    def __init__(self, app: MetatuiApp, sessions: Sessions) -> None:
        self._app, self._sessions = app, sessions
        self.client = RunClient()
        self.shown: RunModel | None = None
        """The run that the work tab shows: the run that the app is following, or a run read from disk."""
        self.side_by_side: Sequence[RunViews] = ()
        """Marked runs that the adaptation pane shows instead of the run in the work tab."""
        self._side_by_side_caption = ""
        self._marked: Sequence[MarkedRun] = ()
        """The runs of `side_by_side` with their curves, for the curves pane."""
        self._load, self._sampler = Load(), Sampler()
        self._timer: Timer | None = None
        self._checkpoint_requested = False

    def start_timers(self) -> None:
        self._timer = self._app.set_interval(UPDATE_EVERY, self.update, pause=True)
        self._app.set_interval(SAMPLE_EVERY, self._sample)
        self.show_run()
        self.show_adaptation()

    @property
    def followed(self) -> RunFolder | None:
        """Folder of the run that the app is following, or None if it follows no run."""
        receiver = self.client.receiver
        return receiver.run.run if receiver and receiver.run and self.client.phase.active else None

    async def action_start(self) -> None:
        """Start a run with the settings in the form, or go to the first invalid field."""
        app = self._app
        settings = app.form.assessment.settings
        if settings is None:
            app.open_tab("work", "settings")
            app.notify(f"Not started. {await app.form.go_to_first_problem()}", severity="error")
            return
        preset, changes = app.presets.origin_of(settings), app.presets.changes
        self.begin(lambda: self._sessions.start(settings, preset, changes), RunModel(settings))

    def begin(self, open_run: OpenRun, model: RunModel, attached: Attached | None = None) -> None:
        """Call `open_run`, and follow and show the run that it returns. See `RunClient.begin` for the arguments."""
        self.client.begin(open_run, model, attached)
        self._app.clear_notifications()
        self._load, self._checkpoint_requested = Load(), False
        if model.settings != self._app.form.assessment.settings:
            self._app.presets.set_followed_run(model.settings, model.run_id)
            if note := self._app.presets.return_note:
                self._app.notify(note)
        self._app.form.show_run_settings(model.settings)
        if self._timer:
            self._timer.resume()
        self.show(model)

    def show(self, model: RunModel) -> None:
        """Open the work tab and show a run in it, instead of the marked runs."""
        self._app.workers.cancel_group(self._app, "side_by_side")
        self.shown, self.side_by_side, self._marked = model, (), ()
        self._app.work_tab.show_run_panes(shown=True)
        self._app.open_tab("work", "run")
        self._app.runs_tab.go_to(model.run_id)
        self.show_run()
        self.show_adaptation()

    def leave(self) -> str:
        """Stop following the run, which continues, and clear the work tab.

        Returns:
            A space and a sentence about the live changes that the form keeps, or an empty string if there are none.
        """
        left = self.client.model
        self.client.leave()
        self.shown = None
        self._app.work_tab.show_run_panes(shown=bool(self.side_by_side))
        self._app.form.show_run_settings(None)
        kept = self._keep_initial_values(left) if left else ""
        self._app.presets.run_ended()
        self._app.runs_tab.go_to(left.run_id if left else "")
        self.show_run()
        self.show_adaptation()
        self._app.runs.show_marked()
        return kept

    def close_shown(self) -> None:
        """Stop showing the run in the work tab, so that only the marked runs are shown."""
        self.shown = None
        self.show_run()
        self.show_adaptation()

    def action_pause(self) -> None:
        """Pause or continue the run that the app is following. If it follows no run, resume the shown run."""
        if self.client.phase.active:
            self.client.toggle_pause()
            self.show_run()
        else:
            self._app.runs.resume_shown()

    def action_stop(self) -> None:
        self.client.stop()
        self.show_run()

    def action_evaluate(self) -> None:
        self.client.submit(Evaluate())
        self._app.notify("Validating after this meta-step.")

    def action_checkpoint(self) -> None:
        self.client.submit(Checkpoint())
        self._checkpoint_requested = True

    def action_live(self) -> None:
        from metatui.tui.screens.dialogs.live_settings import Changes, LiveScreen

        def apply(changes: Changes | None) -> None:
            self.update()  # the run may have ended since the last update
            for path, new in (changes or {}).items():
                if self.client.phase.active:
                    self.client.change(path, new)
                else:
                    self._app.form.enter(path, text_of(new))
            if changes and not self.client.phase.active:
                values = _named({path: text_of(new) for path, new in changes.items()})
                self._app.notify(f"The run has ended: the form now has {values} for the next run.")

        if model := self.client.model:
            self._app.push_screen(LiveScreen(model.settings), apply)

    def action_undo(self) -> None:
        if restored := self._app.form.restore():
            self._app.notify(f"The form has the values from the start of the run again: {_named(restored)}.")
        if change := self.client.undo():
            label = FIELDS[change.path].label
            old, new = text_of(change.old), text_of(change.new)
            self._app.notify(f"{label} changes back from {new} to {old} after this meta-step.")
            self._app.update_bars()

    def update(self) -> None:
        """Show the events that the run has sent since the last update."""
        if self._app.background.leaving:  # the terminal may be lost
            return
        was_active = self.client.phase.active
        drained = self.client.drain()
        for event in drained.events:
            self._react(event)
        active = self.client.phase.active
        has_ended = was_active and not active
        if has_ended or any(isinstance(event, Evaluated | Finished) for event in drained.events):
            self.show_adaptation()
        if has_ended:
            self._ended()
        if drained.changed:
            self.show_run()
        if not active and self._timer:
            self._timer.pause()
        self._app.background.write_followed_run()

    def _react(self, event: Event) -> None:
        app, model = self._app, self.client.model
        app.happened.publish(event)
        match event:
            case Started() if model:
                app.runs_tab.go_to(model.run_id)
            case Tweaked() if model:
                app.form.show_live_change(model.settings, event.path)
            case Checkpointed(kind="last") if self._checkpoint_requested:
                self._checkpoint_requested = False
                steps = format_count(event.iteration, "meta-step")
                app.notify(f"Checkpoint saved after {steps}.")
            case Failed():
                app.notify(as_sentence(event.sentence), title="The run ended", severity="error", timeout=30)

    def _ended(self) -> None:
        app, model, receiver = self._app, self.client.model, self.client.receiver
        assert model is not None
        app.form.show_run_settings(None)
        app.background.close_question()
        self._tell_dialog()
        kept = self._keep_initial_values(model)
        app.presets.run_ended()
        app.runs_tab.go_to(model.run_id)
        if self.shown is model and model.run_id in app.runs_tab.marked:
            app.runs.show_marked()
        if receiver and receiver.stopped_early:
            app.notify("Stopped before training began.", title=model.run_id or "Run")
        if isinstance(model.ended, Failed) and receiver and receiver.run:
            app.run_worker(self._show_failure(model, receiver.run.run, model.ended.sentence), group="status")
        if isinstance(model.ended, Finished):
            result = f" Test: {result_words(model.test, model.best)}." if model.test else ""
            warning = f" {model.ended.warning}." if model.ended.warning else ""
            others = model.ended.reason == "stopped" and not self.client.stop_requested
            resume = with_keys(" {pause} resumes it.") if app.context.resumable else ""
            by = " in another instance of the app or with 'metatui stop'" if others else ""
            untested = " The training is complete, but the run was not tested." if model.is_untested else ""
            app.notify(
                f"{model.status}{by}.{untested}{result}{warning}{resume}{kept}",
                title=model.run_id or "Run",
                severity="warning" if warning or model.has_no_result else "information",
            )

    def _keep_initial_values(self, model: RunModel) -> str:
        """Let the user undo, in the form, the changes made during a run that the app no longer follows.

        Returns:
            A space and a sentence that names the changed values, or an empty string if there are none.
        """
        if self._app.presets.return_note:  # the form will get its own settings back
            return ""
        start: dict[str, Scalar] = {}
        for made in model.undoable:
            start.setdefault(made.path, made.old)
        changed = {
            path: self._app.form.text(path) for path in self._app.form.keep_initial_values(model.settings, start)
        }
        return (
            with_keys(f" The form keeps changes made during the run ({_named(changed)}): {{undo}} undoes them.")
            if changed
            else ""
        )

    def _tell_dialog(self) -> None:
        """Tell the live settings dialog that the run has ended."""
        from metatui.tui.screens.dialogs.live_settings import LiveScreen

        for screen in self._app.screen_stack:
            if isinstance(screen, LiveScreen):
                screen.run_ended()

    async def _show_failure(self, model: RunModel, run: RunFolder, sentence: str) -> None:
        """Show whether the run failed or was interrupted. After an unexpected error, also show the end of crash.log."""
        from metatui.tui.screens.dialogs.failure import FailureScreen, last_lines

        model.status = (await asyncio.to_thread(run.status)).capitalize()
        self.show_run()
        if run.crash_path.name in sentence:
            self._app.push_screen(FailureScreen(run, sentence, await asyncio.to_thread(last_lines, run)))

    def show_run(self) -> None:
        """Show the run's state, and update the bars, which show the possible actions."""
        client, top_bar = self.client, self._app.top_bar
        is_followed = self.shown is not None and self.shown is client.model
        self._app.work_tab.show(self.shown, client.phase if is_followed else Phase.IDLE, self._load, self._marked)
        self._app.work_tab.hint.update(self._app.hints.text)
        top_bar.phase, top_bar.state = client.phase, self._state()
        self._app.work_tab.status.show_runs(self.shown_runs)
        top_bar.warned = bool(top_bar.state) and client.model is not None and client.model.has_no_result
        self._app.update_bars()

    @property
    def shown_runs(self) -> list[RunState]:
        """States of the runs in the adaptation pane (in the order of the pane), and of the run in the work tab, if any.

        If the run in the work tab is not in the adaptation pane, it is first.
        """
        model, phase = self.shown, self.client.phase
        states = {views.run: RunState(views.label, "adaptation", views.colour) for views in self.side_by_side}
        if model is None:
            return list(states.values())
        status = phase.value if model is self.client.model and phase.active else model.state
        name = model.run_id or f"{model.settings.algorithm.name}-{model.settings.task.source}"
        state = RunState(name, status.lower(), self._colour(model), model.has_no_result)
        if model.run_id not in states:
            return [state, *states.values()]
        return list((states | {model.run_id: state}).values())

    def _colour(self, model: RunModel) -> str:
        """Return the colour of a run. The colour stays the same when a new run gets its name."""
        return self._app.runs.colours.of([model.run_id])[model.run_id]

    def _state(self) -> tuple[str, ...]:
        """Return the state of the run that the app is following, for the top bar, with the most important parts first.

        The state is empty if this run has ended and a run from disk is shown, even if both are the same run.
        """
        model, phase = self.client.model, self.client.phase
        if model is None or not (phase.active or model is self.shown):
            return ()
        kind = "test" if model.test else "validation"
        warning = [f"{kind} {value(model.result)}"] if model.result and model.has_no_result else []
        if not phase.active:
            return model.state, *warning, model.run_id
        now = model.evaluating
        if now and phase is Phase.RUNNING and (now.split == "test" or model.evaluation_left is not None):
            doing = "Testing" if now.split == "test" else "Validating"
            return doing, f"{now.done:,} of {now.tasks:,} tasks{model.evaluation_left_text}", *warning, model.run_id
        done, total = model.packed or (model.iteration, model.settings.training.iterations)
        why = ": its files cannot be written" if phase is Phase.PAUSED and model.waits_because else ""
        doing = f"{model.stage[0].upper()}{model.stage[1:]}…" if phase is Phase.STARTING else phase.value
        return f"{doing}{why}", f"{done:,} of {total:,}", *warning, model.run_id

    async def _sample(self) -> None:
        model, receiver = self.client.model, self.client.receiver
        if self.client.phase.active and model and receiver and receiver.run and not self._app.background.leaving:
            device = model.started.device if model.started else "cpu"
            self._load = await asyncio.to_thread(self._sampler.sample, receiver.run.hello.pid, device)

    def show_side_by_side(self, runs: Sequence[RunViews], caption: str, models: Mapping[str, RunModel]) -> None:
        """Show the adaptation of several runs side by side in the adaptation pane.

        Args:
            models: models of the runs, keyed by name. Their curves are drawn if no run is shown.
        """
        self.side_by_side, self._side_by_side_caption = runs, caption
        self._marked = [
            MarkedRun(views.label, views.colour, models[views.run]) for views in runs if views.run in models
        ]
        if self.shown is None:
            self._app.work_tab.show_run_panes(shown=bool(runs), fold=not self._app.form.has_focus_within)
        self.show_run()
        self.show_adaptation()

    @property
    def shows_classification(self) -> bool:
        """Whether the shown run, or each of the marked runs, classifies images."""
        models = [self.shown] if self.shown else [run.model for run in self._marked]
        return bool(models) and all(model.settings.is_classification for model in models)

    @property
    def shown_split(self) -> Literal["test", "val"]:
        """Split of the held-out tasks in the adaptation pane, or `test` if the pane shows no tasks."""
        model = self.shown
        return "val" if model and model.views and not model.test and not self.side_by_side else "test"

    def show_adaptation(self) -> None:
        """Show the marked runs side by side in the adaptation pane, or the last evaluation of the shown run."""
        model, show = self.shown, self._app.work_tab.adaptation_pane.show
        if self.side_by_side:
            show(self.side_by_side, self._side_by_side_caption)
        elif model is None or not model.views:
            show((), "", empty=no_adaptation(model, self.client.phase if model is self.client.model else Phase.IDLE))
        else:
            evaluation = model.test or model.evaluation
            caption = f"Validation: {headline(model.evaluation)}" if model.evaluation else ""
            if model.test:
                caption = f"Test: {result_words(model.test, model.best)}"
            views = RunViews(model.run_id, model.settings.algorithm.name, self._colour(model), model.views)
            show((views,), caption, warning=bool(evaluation and evaluation.diverged))


def _named(texts: Mapping[str, str]) -> str:
    """Join settings and their values, for example `inner learning rate 0.05 and outer learning rate 0.01`."""
    return " and ".join(f"{label_in_sentence(path)} {text}" for path, text in texts.items())
