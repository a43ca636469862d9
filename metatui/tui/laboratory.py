"""The app itself: one training in a thread, a timer that shows how it goes, and what each action does."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence

from textual import on, work

from metatui import presets
from metatui.errors import MetatuiError
from metatui.learning.events import Checkpoint, Checkpointed, Evaluate, Evaluated, Event, Failed, Finished, Tweaked
from metatui.presets import Preset
from metatui.runs.store import RunStore
from metatui.runs.summary import RunSummary
from metatui.settings import Settings
from metatui.tui import palette
from metatui.tui.actions import BY_ID, Phase, Situation
from metatui.tui.adaptation import RunViews
from metatui.tui.conductor import Conductor
from metatui.tui.form.fields import KnobField, explained
from metatui.tui.form.form import SettingsForm
from metatui.tui.job_control import continue_only_what_was_stopped
from metatui.tui.monitor import Monitor
from metatui.tui.panes.bars import TopBar
from metatui.tui.panes.curves import View
from metatui.tui.panes.presets_tab import PresetsTab
from metatui.tui.panes.runs_tab import RunsTab
from metatui.tui.panes.work import WorkTab
from metatui.tui.protocol import headline, protocol_of
from metatui.tui.replay import replay
from metatui.tui.resources import Load, Sampler
from metatui.tui.screens.confirm import ConfirmScreen
from metatui.tui.screens.help import HelpScreen
from metatui.tui.screens.live import LiveScreen
from metatui.tui.screens.save_preset import PresetName, SavePresetScreen
from metatui.tui.sessions import Sessions
from metatui.tui.symbols import Symbols
from metatui.tui.ticker import Ticker
from metatui.tui.training import SessionLike
from metatui.tui.window import Window

SAMPLE_EVERY = 2.0
"""Seconds between samples of memory and load."""

FOLLOW_EVERY = 5.0
"""Seconds between readings of a run that is shown and goes on in another process."""

VIEWS = 4
"""Held-out tasks on which marked runs are shown beside each other."""


class MetatuiApp(Window):
    """`settings` are in the form at the start; `preset` is their name, if they have one."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: RunStore,
        sessions: Sessions,
        symbols: Symbols,
        theme: str,
        preset: str | None = None,
        start: bool = False,
        warning: str = "",
    ) -> None:
        super().__init__(settings, store=store, symbols=symbols, theme=theme)
        self._sessions = sessions
        self._preset = (preset, settings)
        self._start_at_once = start
        self._warning = warning
        self.conductor = Conductor()
        self.shown: Monitor | None = None
        """The run that the work tab shows: the one of this process, or one from disk."""
        self._beside: list[RunViews] = []
        """The marked runs, if they are shown in place of the one run."""
        self._beside_caption = ""
        self._colours: dict[str, int] = {}
        """Which colour each marked run has, as long as it is marked."""
        self._load, self._sampler = Load(), Sampler()
        self._ticker = Ticker(self, self.tick)
        self._leaving: int | None = None
        self._saving = False
        """Whether the user asked for a checkpoint that is not written yet."""

    @property
    def situation(self) -> Situation:
        row = {"runs": self.runs_tab.selected, "presets": self.presets_tab.selected}.get(self.tab)
        return Situation(
            phase=self.conductor.phase,
            tab=self.tab,
            row=row is not None,
            own_preset=self.presets_tab.selected is not None and not self.presets_tab.selected.bundled,
            classification=bool(self.shown and self.shown.settings.is_classification),
        )

    async def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, self.remember_theme)
        if not self.is_headless:
            loop = asyncio.get_running_loop()
            # A terminal that is gone, or a batch system that ends the job: what the run has reached is saved.
            for number in (signal.SIGHUP, signal.SIGTERM):
                loop.add_signal_handler(number, self._hang_up, 128 + number)
            continue_only_what_was_stopped()
        self.set_interval(SAMPLE_EVERY, self._sample)
        self.set_interval(FOLLOW_EVERY, self._follow)
        if self._warning:
            self.notify(self._warning, severity="warning")
        self.form.focus_first()
        self.show_run()
        self._show_adaptation()
        if self._start_at_once:
            self.call_after_refresh(self.action_start)

    # Training

    async def action_start(self) -> None:
        """Train what the form says, or say why not and go to the field to change."""
        assessment = self.form.assessment
        if assessment.settings is None:
            self.open_tab("work")
            self.work_tab.pane = "settings"
            self.notify(f"Not started. {await self.form.go_to_first_problem()}", severity="error")
            return
        settings = assessment.settings
        name, named = self._preset
        preset = name if settings == named else None
        self._begin(lambda: self._sessions.start(settings, preset), Monitor(settings))

    def _begin(self, opening: Callable[[], SessionLike], monitor: Monitor) -> None:
        training = self.conductor.begin(opening, monitor)
        self.shown, self._beside = monitor, []
        self.form.hold(monitor.settings)
        self.run_worker(training.run, thread=True, exit_on_error=False, group="training", description="training")
        self.open_tab("work")
        self.work_tab.go_to("run")
        self._ticker.start()
        self.show_run()
        self._show_adaptation()

    def action_pause(self) -> None:
        self.conductor.toggle_pause()
        self.show_run()

    def action_stop(self) -> None:
        self.conductor.stop()
        self.show_run()

    def action_evaluate(self) -> None:
        self.conductor.submit(Evaluate())
        self.notify("Validating after this meta-step.")

    def action_checkpoint(self) -> None:
        self.conductor.submit(Checkpoint())
        self._saving = True

    @work
    async def action_live(self) -> None:
        monitor = self.conductor.monitor
        if monitor is None:
            return
        for path, value in (await self.push_screen_wait(LiveScreen(monitor.settings))).items():
            self.conductor.change(path, value)

    @on(SettingsForm.LiveChange)
    def _live_change(self, event: SettingsForm.LiveChange) -> None:
        self.conductor.change(event.path, event.value)

    def tick(self) -> bool:
        """Take what the training thread has left and show it; True while there is more to come."""
        if self._leaving is not None:  # the terminal may be gone: nothing is drawn any more
            return False
        before = self.conductor.phase
        events = self.conductor.drain()
        for event in events:
            self._react(event)
        ended = before.active and not self.conductor.phase.active
        if ended:
            self._ended()
        if events or before is not self.conductor.phase:
            self.show_run()
        return self.conductor.phase.active

    def _react(self, event: Event) -> None:
        monitor = self.conductor.monitor
        assert monitor is not None
        match event:
            case Tweaked():
                self.form.tweaked(monitor.settings, event.path)
            case Evaluated() | Finished():
                self._show_adaptation()
            case Checkpointed(kind="last") if self._saving:
                self._saving = False
                self.notify(f"Checkpoint saved after {event.iteration:,} meta-steps.")
            case Failed():
                self.notify(event.sentence, title="The run failed", severity="error", timeout=30)

    def _ended(self) -> None:
        monitor = self.conductor.monitor
        assert monitor is not None
        self.form.hold(None)
        self.runs_tab.reload()
        if isinstance(monitor.ended, Finished):
            result = f" Test: {headline(monitor.test)}." if monitor.test else ""
            self.notify(f"{monitor.status}.{result}", title=monitor.run_id or "Run")

    def show_run(self) -> None:
        """Show how the run stands, and what can be done."""
        ours = self.shown is not None and self.shown is self.conductor.monitor
        self.work_tab.show(self.shown, self.conductor.phase if ours else Phase.IDLE, self._load)
        top = self.screen_stack[0].query_one(TopBar)
        top.phase, top.state = self.conductor.phase, self._state()
        self.update_bars()

    def _state(self) -> tuple[str, ...]:
        monitor, phase = self.conductor.monitor, self.conductor.phase
        if not phase.active or monitor is None:
            return ()
        return phase.value, f"{monitor.iteration:,} of {monitor.settings.training.iterations:,}", monitor.run_id

    async def _sample(self) -> None:
        if not self.conductor.phase.active or self._leaving is not None:
            return
        started = self.conductor.monitor.started if self.conductor.monitor else None
        self._load = await asyncio.to_thread(self._sampler.sample, started.device if started else "cpu")

    # What is shown

    def _show_adaptation(self) -> None:
        if self._beside:
            self.work_tab.show_adaptation(self._beside, self._beside_caption)
            return
        monitor = self.shown
        if monitor is None or not monitor.views:
            self.work_tab.show_adaptation((), "")
            return
        result = monitor.test or monitor.evaluation
        caption = f"{'Test' if monitor.test else 'Validation'}: {headline(result)}" if result else ""
        label = monitor.settings.algorithm.name
        views = RunViews(monitor.run_id, label, self._colour(monitor.run_id), monitor.views)
        self.work_tab.show_adaptation((views,), caption)

    def _colour(self, run_id: str) -> str:
        return palette.run_colour(self._colours.get(run_id, 0), self.current_theme.dark)

    def view_changed(self, view: View) -> None:
        self.work_tab.curves.view = view
        self.work_tab.curves.show(self.shown)

    def action_help(self) -> None:
        focused = self.focused
        field = next((node for node in focused.ancestors if isinstance(node, KnobField)), None) if focused else None
        self.push_screen(HelpScreen(self.situation, explained(field.knob) if field else ""))

    @on(WorkTab.PaneChanged)
    @on(RunsTab.Moved)
    @on(PresetsTab.Moved)
    def _moved(self) -> None:
        self.update_bars()

    # Runs

    @on(RunsTab.Chosen)
    async def _run_chosen(self, event: RunsTab.Chosen) -> None:
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
        try:
            monitor = await asyncio.to_thread(replay, run.run)
        except MetatuiError as error:
            self.notify(f"{error}.", severity="error")
            return
        if self.conductor.phase.active:
            self.notify(BY_ID["start"].refuse(self.situation), severity="warning")
            return
        monitor.status, monitor.folder = "", None
        self._begin(lambda: self._sessions.resume(run.id), monitor)

    @work(exclusive=True, group="open")
    async def _open_run(self, run: RunSummary) -> None:
        """Show a run from disk, or the one of this process."""
        live = self.conductor.monitor
        if live and live.run_id == run.id and self.conductor.phase.active:
            self.shown = live
        else:
            try:
                self.shown = await asyncio.to_thread(replay, run.run)
            except MetatuiError as error:
                self.notify(f"{error}.", severity="error")
                return
        self._beside = []
        self.open_tab("work")
        self.work_tab.go_to("run")
        self.show_run()
        self._show_adaptation()

    async def _follow(self) -> None:
        """Read the shown run again if another process is training it."""
        before = self.shown
        if before is None or before.folder is None or before.status not in ("Running", "Paused"):
            return
        try:
            now = await asyncio.to_thread(replay, before.folder)
        except MetatuiError:
            return  # its files are being written, moved or deleted: what was read stays on the screen
        if self.shown is before and self._leaving is None:
            self.shown = now
            self.show_run()
            self._show_adaptation()

    @on(RunsTab.Marked)
    def _marked(self, event: RunsTab.Marked) -> None:
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
        self._show_adaptation()
        if beside:
            self.notify(f"{len(beside)} of at most 3 runs marked; the work tab (key 1) shows their adaptation.")

    # Presets

    @on(PresetsTab.Chosen)
    def _preset_chosen(self, event: PresetsTab.Chosen) -> None:
        self._load_settings(event.preset.settings, event.preset.name, event.preset.name)

    def _load_settings(self, settings: Settings, preset: str | None, name: str) -> None:
        self._preset = (preset, settings)
        self.form.load(settings)
        self.open_tab("work")
        self.work_tab.go_to("settings")
        self.notify(f"{name} is in the form: F5 starts it.")

    @work
    async def action_save_preset(self) -> None:
        settings = self.form.assessment.settings
        if settings is None:
            self.open_tab("work")
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
            self.presets_tab.reload()

    def _save(self, wanted: PresetName, settings: Settings) -> Preset:
        test = self.shown.test if self.shown and self.shown.settings == settings else None
        return presets.save(
            wanted.name, settings, title=wanted.title, source="saved from metatui", protocol=protocol_of(settings),
            measured=headline(test) if test else "", overwrite=wanted.overwrite,
        )  # fmt: skip

    # Leaving

    async def action_quit(self) -> None:
        if self.conductor.phase.active:
            self._ask_to_quit()
        else:
            self.exit()

    @work
    async def _ask_to_quit(self) -> None:
        question = "A run is going on. It stops after this meta-step and is saved; it can be resumed later."
        if await self.push_screen_wait(ConfirmScreen("Quit", question, yes="Stop, save and quit", no="Go on")):
            self.conductor.stop()
            self.show_run()
            await self._leave(0)

    def _hang_up(self, code: int) -> None:
        """The terminal is gone or the process is asked to end."""
        self._leaving = code
        self.conductor.stop("interrupted")
        if self.is_running:
            self.run_worker(self._leave(code), group="leaving")

    def on_unmount(self) -> None:
        # Whatever ends the app, an error of its own included, the process ends only after the training thread.
        self.conductor.stop("interrupted")

    async def _leave(self, code: int) -> None:
        training = self.conductor.training
        if training and self.conductor.phase.active:
            await asyncio.to_thread(training.over.wait)
        self.exit(return_code=code)


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
