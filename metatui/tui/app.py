"""The app itself: the bench, the collection of earlier runs beside it, and presets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from textual import on, work

from metatui.config import presets
from metatui.config.presets import Preset
from metatui.config.schedule import Planned
from metatui.config.settings import Settings
from metatui.tui.actions import BY_ID
from metatui.tui.analysis_actions import Studies
from metatui.tui.formatting import headline, protocol_of
from metatui.tui.screens.main.messages import PresetChosen, RowChanged, RunChosen, RunsMarked, RunStopped
from metatui.tui.screens.main.work import WorkTab
from metatui.tui.widgets.adaptation import RunViews
from metatui.tui.widgets.form.fields import FormField, explained
from metatui.utils.errors import MetatuiError

# What the first frame needs none of is imported where it is used.
if TYPE_CHECKING:
    from metatui.runs.storage.run_folder import RunFolder
    from metatui.runs.storage.summary import RunSummary
    from metatui.tui.controllers.replay import Replay
    from metatui.tui.screens.dialogs.save_preset import PresetName

READ_EVERY = 5.0
"""Seconds between readings of a run that is shown and goes on where it cannot be followed, such as on another host."""

VIEWS = 4
"""Held-out tasks on which marked runs are shown beside each other."""


class MetatuiApp(Studies):
    """What the runs and presets tabs ask for happens here."""

    _replay: Replay | None = None
    """The run from disk that was opened last."""

    def on_mount(self) -> None:
        self.set_interval(READ_EVERY, self._read_again)

    def action_help(self) -> None:
        from metatui.tui.screens.dialogs.help import HelpScreen

        focused = self.focused
        field = next((node for node in focused.ancestors if isinstance(node, FormField)), None) if focused else None
        self.push_screen(HelpScreen(self.situation, explained(field.setting) if field else ""))

    def action_benchmark(self) -> None:
        from metatui.tui.screens.benchmark.screen import BenchmarkScreen

        self.push_screen(BenchmarkScreen(lambda: self.conductor.phase.active))

    @on(WorkTab.PaneChanged)
    @on(RowChanged)
    def _moved(self) -> None:
        self.update_bars()

    @on(RunChosen)
    async def _run_chosen(self, event: RunChosen) -> None:
        run = event.run
        match event.what:
            case "open":
                self._open_run(run)
            case "load" if run.settings:
                self._load_settings(run.settings, None, run.id)
            case "resume" if run.settings:
                self._resume_run(run)
            case _:
                self.notify(f"{run.problem or 'Its settings cannot be read'}.", severity="error")

    @work(exclusive=True, group="open")
    async def _resume_run(self, run: RunSummary) -> None:
        from metatui.tui.controllers.replay import Replay

        try:
            monitor = await asyncio.to_thread(Replay(run.run).read)
        except MetatuiError as error:
            self.notify(f"{error}.", severity="error")
            return
        if self.conductor.phase.active:
            self.notify(BY_ID["start"].refuse(self.situation), severity="warning")
            return
        monitor.status = ""
        self.begin(lambda: self._sessions.resume(run.id), monitor)

    @work(exclusive=True, group="open")
    async def _open_run(self, run: RunSummary) -> None:
        """Follow a run that is live, or show one from disk."""
        if run.status in ("running", "paused") or run.run == self._followed:
            await self._join(run.run)
        else:
            await self.show_from_disk(run.run)

    async def show_from_disk(self, run: RunFolder) -> None:
        from metatui.tui.controllers.replay import Replay

        try:
            replay = await asyncio.to_thread(Replay, run)
            self.shown = await asyncio.to_thread(replay.read)
        except MetatuiError as error:
            self.notify(f"{error}.", severity="error")
            return
        self._replay = replay
        self._beside = []
        self.open_tab("work", "run")
        self.show_run()
        self.show_adaptation()

    @on(RunStopped)
    def _run_stopped(self, event: RunStopped) -> None:
        self._stop_run(event.run)

    @work(group="stop")
    async def _stop_run(self, run: RunSummary) -> None:
        if run.run == self._followed:
            self.action_stop()
            return
        try:
            await asyncio.to_thread(self._sessions.stop, run.run)
        except MetatuiError as error:
            self.notify(f"{error}.", severity="error")
        else:
            self.notify(f"{run.id} stops after this meta-step and is saved.")

    async def _read_again(self) -> None:
        """Read the shown run again if a process trains it that cannot be followed from here."""
        before, replay = self.shown, self._replay
        if before is None or replay is None or before.run_id != replay.run.id:
            return
        if before.status not in ("Running", "Paused"):
            return
        try:
            now = await asyncio.to_thread(replay.read)
        except MetatuiError:
            return  # its files are being written, moved or deleted: what was read stays on the screen
        if self.shown is before and self._leaving is None:
            self.shown = now
            self.show_run()
            self.show_adaptation()

    @on(RunsMarked)
    def _marked(self, event: RunsMarked) -> None:
        self._show_beside(event.runs)

    @work(exclusive=True, group="beside")
    async def _show_beside(self, runs: Sequence[RunSummary]) -> None:
        """Adaptation of the marked runs on the same tasks; what it takes is computed in a thread."""
        tasks = {run.settings and _same_tasks(run.settings) for run in runs}
        same = "the same" if len(tasks) == 1 else "different"
        self._beside_caption = f"The marked runs on {same} held-out test tasks"
        self._colours = coloured([run.id for run in runs], self._colours)
        names = [run.settings.algorithm.name if run.settings else run.id for run in runs]
        beside = []
        for run, name in zip(runs, names, strict=True):
            try:
                views = await asyncio.to_thread(self._sessions.views, run.id, VIEWS)
            except MetatuiError as error:
                self.notify(f"{run.id} cannot be shown: {error}.", severity="error")
                continue
            label = name if names.count(name) == 1 else run.id
            beside.append(RunViews(run.id, label, self._colour(run.id), views))
        self._beside = beside
        self.show_adaptation()
        if beside:
            self.work_tab.pane = "adaptation"
            self.notify(f"{len(beside)} of at most 3 beside each other in the work tab (key 1); c compares all marked.")

    @on(PresetChosen)
    def _preset_chosen(self, event: PresetChosen) -> None:
        preset = event.preset
        self._load_settings(preset.settings, preset.name, preset.name, preset.changes)

    def _load_settings(
        self, settings: Settings, preset: str | None, name: str, changes: tuple[Planned, ...] = ()
    ) -> None:
        self._preset, self._changes = (preset, settings), changes
        self.form.load(settings)
        self.open_tab("work", "settings")
        once = f" It makes {len(changes):,} changes while it trains." if changes else ""
        self.notify(f"{name} is in the form: F5 starts it.{once}")

    @work
    async def action_save_preset(self) -> None:
        from metatui.tui.screens.dialogs.save_preset import SavePresetScreen

        settings = self.form.assessment.settings
        if settings is None:
            self.open_tab("work", "settings")
            self.notify(f"Not saved. {await self.form.go_to_first_problem()}", severity="error")
            return
        chosen = settings
        name = f"{settings.algorithm.name}-{settings.task.source}"
        saved = await self.push_screen_wait(
            SavePresetScreen(
                name, f"How it is measured: {protocol_of(settings)}", lambda wanted: self._save(wanted, chosen)
            )
        )
        if saved:
            self._preset = (saved.name, settings)
            self.notify(f"Saved as {saved.name}: it is in the presets tab, and metatui run {saved.name} runs it.")
            self.presets_tab.reload(saved.name)

    def _save(self, wanted: PresetName, settings: Settings) -> Preset:
        title = f"{settings.algorithm.name} on {settings.task.source}"
        shown, test = self.shown, None
        if shown and shown.settings == settings and not shown.changes:  # otherwise the preset would not reproduce it
            test = shown.test
        return presets.save(
            wanted.name, settings, title=wanted.title or title, source="saved from metatui",
            protocol=protocol_of(settings), measured=headline(test) if test else "", changes=self._changes,
            overwrite=wanted.overwrite,
        )  # fmt: skip


def coloured(runs: Sequence[str], before: Mapping[str, int]) -> dict[str, int]:
    """A colour's number for each of `runs`: the one it had before, or the first that none has."""
    colours = {run: before[run] for run in runs if run in before}
    for run in runs:
        if run not in colours:
            colours[run] = min(set(range(len(runs))) - set(colours.values()))
    return colours


def _same_tasks(settings: Settings) -> tuple[object, ...]:
    """What decides the held-out tasks."""
    task = settings.task
    ways = (task.ways, task.split, task.rotations) if settings.is_classification else ()
    return task.source, ways, settings.evaluation_shots, task.queries, settings.evaluation.seed
