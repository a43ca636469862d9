"""Controller of the presets tab: load, save and delete presets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from metatui.config import presets
from metatui.config.fields import FIELDS, label_in_sentence, text_of
from metatui.config.presets import Preset
from metatui.config.registry import ALGORITHMS, DATA
from metatui.config.schedule import Planned
from metatui.config.settings import Settings
from metatui.runs.formatting import headline, protocol_of
from metatui.tui.keyboard.actions import with_keys
from metatui.tui.screens.main.status_line import FormState
from metatui.tui.widgets.form.model import Assessment
from metatui.utils.errors import MetatuiError
from metatui.utils.text import format_count

# Imported in the functions that use them, because the first frame does not need them.
if TYPE_CHECKING:
    from textual.worker import Worker

    from metatui.learning.data.data_set import DataSet
    from metatui.tui.app import MetatuiApp
    from metatui.tui.screens.dialogs.save_preset import PresetName


RESTORED = "Your settings are in the form again."
RETURN_LATER = "Your settings return to the form when the run ends."


class _Form(NamedTuple):
    """Content of the form: the texts of its fields, and the preset or run that they come from."""

    texts: Mapping[str, str]
    loaded: tuple[str | None, Settings]
    source: str
    changes: tuple[Planned, ...]


class PresetsController:
    def __init__(self, app: MetatuiApp, name: str | None, settings: Settings, changes: Sequence[Planned]) -> None:
        """Create the controller.

        Args:
            name, settings, changes: name (if any), settings and scheduled setting changes of the preset that is in the
                form when the app starts.
        """
        self._app = app
        self._loaded = name, settings
        """Origin of the settings that were put into the form, and the settings themselves."""
        self._source = f"preset {name}" if name else "initial settings"
        """Name of the preset or run in the form, for display."""
        self.changes = tuple(changes)
        """Scheduled setting changes of the preset that is loaded into the form."""
        self._kept: _Form | None = None
        """Content of the form from before the tour, or from before the app followed a run, to be restored later.

        None if there is nothing to restore.
        """
        self._restores = False
        """Whether `_kept` is restored when the run ends. This is False while the tour needs the form."""
        self._download: Worker[None] | None = None

    def origin_of(self, settings: Settings) -> str | None:
        """Return the name of the preset that `settings` in the form come from, or None if there is no such preset.

        If the settings differ from the preset, the result is a text such as `quick (changed)`.
        """
        origin, loaded = self._loaded
        return origin if origin is None or settings == loaded else presets.as_changed(origin)

    def form_state(self, form: Assessment) -> FormState:
        """Return the preset or run that was put into the form, and the settings that have been changed since then."""
        scheduled = f" with {format_count(len(self.changes), 'scheduled change')}" if self.changes else ""
        changed = list(map(label_in_sentence, self._changed(form)))
        return FormState(f"{self._source}{scheduled}", changed, len(form.problems))

    def _changed(self, form: Assessment) -> list[str]:
        """Return the paths of valid settings that were changed since the form was filled."""
        loaded, now = self._loaded[1], form.settings
        if now is None:
            return [path for path, value in form.values.items() if loaded.value(path) != value]
        return [path for path in FIELDS if loaded.effective(path) != now.effective(path)]

    def changes_in_form(self) -> tuple[str, Sequence[tuple[str, str]]]:
        """Describe the settings that were changed in the form.

        Returns:
            The preset or run that was put into the form, and the label and values of each changed setting.
        """
        from metatui.tui.screens.main.tabs.previews import format_setting

        now, loaded, kind = self._app.form.assessment, self._loaded[1], self._source.split()[0]
        return self._source, [
            (FIELDS[path].label, f"{text_of(now.values[path]) or 'empty'} ({kind} {format_setting(loaded, path)})")
            for path in self._changed(now)
        ]

    def set_followed_run(self, settings: Settings, run_id: str) -> None:
        """Record that the form shows the settings of the run that the app now follows.

        If the form contained modified or invalid settings before, its content is restored when the run ends.
        """
        form = self._app.form.assessment
        if self._kept is None and (form.settings is None or self._changed(form)):
            self._kept = self._content
        self._restores = self._kept is not None
        self._loaded, self._source, self.changes = (None, settings), f"run {run_id}", ()

    @property
    def _content(self) -> _Form:
        return _Form(self._app.form.texts, self._loaded, self._source, self.changes)

    @property
    def return_note(self) -> str:
        """Sentence for the user if the form returns to its previous content when the run ends, otherwise empty."""
        return RETURN_LATER if self._kept and self._restores else ""

    def load(
        self,
        settings: Settings,
        preset: str | None,
        source: str,
        changes: Sequence[Planned] = (),
        *,
        origin: str | None = None,
        note: str = "",
    ) -> None:
        """Put settings into the form.

        Args:
            source: name of the preset or run that the settings come from.
            origin: name of the preset that a run's settings come from, as recorded in its journal.
            note: sentence at the end of the message to the user.
        """
        self._kept = None
        self._fill_form(settings, preset or origin, f"preset {source}" if preset else f"run {source}", changes)
        planned = f" Scheduled changes: {len(changes):,}." if changes else ""
        data = DATA[settings.task.source]
        start = with_keys("{start} starts it.")
        if data.missing():
            start = f"It needs {data.title}: " + with_keys("press {tab_presets}, then {fetch_data}, to download it.")
        self._app.notify(" ".join(filter(None, (f"{source} is in the form. {start}{planned}", note))))

    def _fill_form(self, settings: Settings, origin: str | None, source: str, changes: Sequence[Planned]) -> None:
        self._loaded, self._source, self.changes = (origin, settings), source, tuple(changes)
        self._app.form.load(settings)
        self._app.open_tab("work", "settings")

    def load_temporarily(self, preset: Preset, iterations: int) -> None:
        """Put `preset` with `iterations` meta-steps into the form, until `restore_form` is called."""
        kept = self._kept or self._content
        self._fill_form(preset.settings, preset.name, f"preset {preset.name}", preset.changes)
        self._app.form.enter("training.iterations", str(iterations))
        self._kept, self._restores = kept, False

    def restore_form(self) -> str:
        """Restore the content that the form had before `load_temporarily`. If a run is in progress, do so when it ends.

        Returns:
            A sentence for the user, or an empty string if there is nothing to restore.
        """
        if self._kept is None:
            return ""
        self._restores = True
        self.run_ended()
        return self.return_note or RESTORED

    def run_ended(self) -> None:
        """Restore the content that the form had before the run, unless the tour still needs the form."""
        kept = self._kept
        if kept and self._restores and not self._app.run_controller.client.phase.active:
            self._kept, self._restores = None, False
            self._loaded, self._source, self.changes = kept.loaded, kept.source, kept.changes
            self._app.form.show_texts(kept.texts)

    def action_load_preset(self) -> None:
        if preset := self._app.presets_tab.selected:
            self.load_preset(preset)

    def load_preset(self, preset: Preset) -> None:
        self.load(preset.settings, preset.name, preset.name, preset.changes)

    def action_filter_presets(self) -> None:
        self._app.presets_tab.show_filter()

    def action_preview_preset(self) -> None:
        self._app.presets_tab.switch_pane()

    def can_fetch(self, preset: Preset) -> bool:
        """Return whether the data of `preset` can be downloaded, or a download can be cancelled."""
        command = DATA[preset.settings.task.source].missing()
        return self._download is not None or command.startswith("metatui ")

    def action_fetch_data(self) -> None:
        """Download the data set of the selected preset, or cancel the download."""
        preset = self._app.presets_tab.selected
        if self._download:
            self._app.run_worker(self._ask_to_cancel(self._download))
        elif preset:
            self._app.run_worker(self._ask_to_fetch(DATA[preset.settings.task.source]))

    async def _ask_to_fetch(self, data: type[DataSet]) -> None:
        from metatui.tui.screens.dialogs.confirm import ConfirmScreen

        question = (
            f"Download {data.title} and pack it? This runs {data.missing()} in the background, so you can continue "
            "to work."
        ) + with_keys(" Press {fetch_data} to cancel the download.")
        if await self._app.push_screen_wait(ConfirmScreen("Download", question, yes="Download")):
            self._download = self._app.run_worker(self._fetch(data), group="download", exit_on_error=False)

    async def _ask_to_cancel(self, download: Worker[None]) -> None:
        from metatui.tui.screens.dialogs.confirm import ConfirmScreen

        question = "Cancel the download? Files that are already complete are kept."
        if await self._app.push_screen_wait(ConfirmScreen("Cancel download", question, yes="Cancel it")):
            download.cancel()

    async def _fetch(self, data: type[DataSet]) -> None:
        from metatui.tui.controllers.data_download import run_data_command

        tab, cancel = self._app.presets_tab, with_keys("Press {fetch_data} to cancel.")
        tab.show_download(f"Downloading {data.title}. {cancel}")
        try:
            problem = await run_data_command(
                data.missing(), lambda line: tab.show_download(f"Downloading {data.title}: {line}. {cancel}")
            )
        finally:
            self._download = None
            tab.show_download("")
        if problem:
            self._app.notify(f"{problem}.", severity="error", timeout=30)
        else:
            self._app.notify(f"{data.title} is now on this machine. You can now start the presets that need it.")
            tab.reload()

    def action_delete_preset(self) -> None:
        if preset := self._app.presets_tab.selected:
            self._app.run_worker(self._ask_to_delete(preset))

    async def _ask_to_delete(self, preset: Preset) -> None:
        from metatui.tui.screens.dialogs.confirm import ConfirmScreen

        question = f"Delete your preset {preset.name}? This cannot be undone."
        if not await self._app.push_screen_wait(ConfirmScreen("Delete preset", question, yes="Delete")):
            return
        try:
            presets.delete(preset.name)
        except MetatuiError as error:
            self._app.notify_error(error)
        self._app.presets_tab.reload()

    async def action_save_preset(self) -> None:
        app = self._app
        settings = app.form.assessment.settings
        if settings is None:
            app.open_tab("work", "settings")
            app.notify(f"Not saved. {await app.form.go_to_first_problem()}", severity="error")
        else:
            app.run_worker(self._ask_to_save(settings))

    async def _ask_to_save(self, settings: Settings) -> None:
        from metatui.tui.screens.dialogs.save_preset import SavePresetScreen

        app = self._app
        name = presets.free_name(f"my-{settings.algorithm.name}-{settings.task.source}")
        protocol = f"Test protocol: {protocol_of(settings)}"
        screen = SavePresetScreen(name, protocol, lambda chosen: self._save(chosen, settings))
        if saved := await app.push_screen_wait(screen):
            self._loaded, self._source = (saved.name, settings), f"preset {saved.name}"
            app.work_tab.status.show_form(self.form_state(app.form.assessment))
            app.notify(
                f"Saved as {saved.name}. It is in the presets tab. To run it in a shell: metatui run {saved.name}"
            )
            app.presets_tab.reload(saved.name)
            app.happened.publish(saved)

    def _save(self, chosen: PresetName, settings: Settings) -> Preset:
        title = f"{ALGORITHMS[settings.algorithm.name].title} on {DATA[settings.task.source].title}"
        shown, test = self._app.run_controller.shown, None
        # With other settings or with live changes, the preset would not reproduce the test.
        if shown and shown.settings == settings and not shown.changes:
            test = shown.test
        return presets.save(
            chosen.name,
            settings,
            title=chosen.title or title,
            source="saved in metatui",
            protocol=protocol_of(settings),
            measured=headline(test) if test else "",
            changes=self.changes,
            overwrite=chosen.overwrite,
        )
