"""The bench: the one run that is followed, from start to end, and what is seen of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on, work
from textual.events import Event as TerminalEvent
from textual.events import InputEvent

from metatui.config.fields import FIELDS, text_of
from metatui.config.schedule import Planned
from metatui.config.settings import Settings
from metatui.events import Checkpoint, Checkpointed, Evaluate, Evaluated, Event, Failed, Finished, Started, Tweaked
from metatui.tui import palette
from metatui.tui.actions import AppContext, Phase
from metatui.tui.base_app import Window
from metatui.tui.controllers.event_thread import SessionLike
from metatui.tui.controllers.run_client import Conductor
from metatui.tui.controllers.run_model import Monitor
from metatui.tui.controllers.sessions import Sessions
from metatui.tui.formatting import headline, result_words, value
from metatui.tui.screens.main.curves import View
from metatui.tui.screens.main.header_footer import TopBar
from metatui.tui.system_monitor import Load, Sampler
from metatui.tui.terminal import gc_policy
from metatui.tui.terminal.gc_policy import Garbage
from metatui.tui.terminal.redirect import DiffWriter
from metatui.tui.terminal.refresh_timer import Ticker
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.adaptation import RunViews
from metatui.tui.widgets.form.form import SettingsForm

# What the first frame needs none of is imported where it is used.
if TYPE_CHECKING:
    from metatui.runs.storage.run_folder import RunFolder

COMPLETE_AFTER = 0.5
"""Seconds after the first frame at which the other tabs are made, unless they are wanted before."""

SAMPLE_EVERY = 2.0
"""Seconds between samples of memory and load."""


class Bench(Window):
    """Everything about the run that is followed. `settings` are in the form at the start; `preset` is their name."""

    def __init__(
        self,
        settings: Settings,
        *,
        runs_dir: Path,
        sessions: Sessions,
        symbols: Symbols,
        theme: str,
        preset: str | None = None,
        changes: Sequence[Planned] = (),
        start: bool = False,
        warning: str = "",
    ) -> None:
        super().__init__(settings, runs_dir=runs_dir, symbols=symbols, theme=theme)
        self._sessions = sessions
        self._preset = (preset, settings)
        self._changes = tuple(changes)
        """What the preset in the form changes while it trains."""
        self._start_at_once = start
        self._warning = warning
        self.conductor = Conductor()
        self.shown: Monitor | None = None
        """The run that the work tab shows: the one that is followed, or one from disk."""
        self._beside: list[RunViews] = []
        """The marked runs, if they are shown in place of the one run."""
        self._beside_caption = ""
        self._colours: dict[str, int] = {}
        """Which colour each marked run has, as long as it is marked."""
        self._load, self._sampler = Load(), Sampler()
        self.outlet: DiffWriter | None = None
        """What the app is drawn on; None in tests."""
        self._ticker = Ticker(self, self.tick, lambda: self.outlet.held_up if self.outlet else 0.0)
        self._garbage = Garbage()
        self._leaving: int | None = None
        self._saving = False
        """Whether the user asked for a checkpoint that is not written yet."""

    def warn_at_start(self, sentence: str) -> None:
        """Show `sentence` when the app has started, after any other warning."""
        self._warning = f"{self._warning} {sentence}".strip()

    @property
    def situation(self) -> AppContext:
        tab = self.tab
        run = self.runs_tab.selected if tab == "runs" else None
        preset = self.presets_tab.selected if tab == "presets" else None
        return AppContext(
            phase=self.conductor.phase,
            tab=tab,
            row=run is not None or preset is not None,
            live_row=run is not None and run.status in ("running", "paused"),
            own_preset=preset is not None and not preset.bundled,
            undoable=self.conductor.undoable is not None,
            classification=bool(self.shown and self.shown.settings.is_classification),
        )

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, self.remember_theme)
        self.set_interval(SAMPLE_EVERY, self._sample)
        self.set_interval(gc_policy.EVERY, self._garbage.look)
        if self._warning:
            self.notify(self._warning, severity="warning")
        self.form.focus_first()
        self.show_run()
        self.show_adaptation()
        self.call_after_refresh(self._drawn)

    def on_resize(self) -> None:
        if self.outlet:
            self.outlet.forget()

    async def _drawn(self) -> None:
        """The first frame is there."""
        self._garbage.begin()
        self.set_timer(COMPLETE_AFTER, self._settled)
        if self._start_at_once:
            await self.action_perform("start")

    async def _settled(self) -> None:
        """A moment after the first frame."""
        if self.screen_stack:  # else the app has ended meanwhile
            await self.complete()
            self._garbage.keep()

    async def on_event(self, event: TerminalEvent) -> None:
        if isinstance(event, InputEvent):
            self._garbage.pressed()
        await super().on_event(event)

    async def action_start(self) -> None:
        """Train what the form says, or say why not and go to the field to change."""
        assessment = self.form.assessment
        if assessment.settings is None:
            self.open_tab("work", "settings")
            self.clear_notifications()
            self.notify(f"Not started. {await self.form.go_to_first_problem()}", severity="error")
            return
        settings = assessment.settings
        name, named = self._preset
        preset, changes = name if settings == named else None, self._changes
        self.begin(lambda: self._sessions.start(settings, preset, changes), Monitor(settings))

    def begin(self, opening: Callable[[], SessionLike], monitor: Monitor, phase: Phase = Phase.STARTING) -> None:
        """Follow the run that `opening` gives, once it is there; `monitor` is shown from now on."""
        self.conductor.begin(opening, monitor, phase)
        self.clear_notifications()
        self.shown, self._beside, self._load = monitor, [], Load()
        self.form.hold(monitor.settings)
        self.open_tab("work", "run")
        self._ticker.start()
        self.show_run()
        self.show_adaptation()

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
        from metatui.tui.screens.dialogs.live_settings import LiveScreen

        monitor = self.conductor.monitor
        if monitor is None:
            return
        for path, wanted in (await self.push_screen_wait(LiveScreen(monitor.settings))).items():
            self.conductor.change(path, wanted)

    def action_undo(self) -> None:
        if change := self.conductor.undo():
            label = FIELDS[change.path].label
            self.notify(
                f"{label} changes back from {text_of(change.new)} to {text_of(change.old)} after this meta-step."
            )
            self.update_bars()

    @on(SettingsForm.LiveChange)
    def _live_change(self, event: SettingsForm.LiveChange) -> None:
        self.conductor.change(event.path, event.value)

    def tick(self) -> bool:
        """Take what the training thread has left and show it; True while there is more to come."""
        if self._leaving is not None:  # the terminal may be gone: nothing is drawn any more
            return False
        before = self.conductor.phase
        news = self.conductor.drain()
        for event in news.events:
            self._react(event)
        if any(isinstance(event, Evaluated | Finished) for event in news.events):
            self.show_adaptation()
        ended = before.active and not self.conductor.phase.active
        if ended:
            self._ended()
        if news.any:
            self.show_run()
        return self.conductor.phase.active

    def _react(self, event: Event) -> None:
        monitor = self.conductor.monitor
        assert monitor is not None
        match event:
            case Started():
                self.runs_tab.reload(newest=True)
            case Tweaked():
                self.form.tweaked(monitor.settings, event.path)
            case Checkpointed(kind="last") if self._saving:
                self._saving = False
                self.notify(f"Checkpoint saved after {event.iteration:,} meta-steps.")
            case Failed():
                self.notify(event.sentence, title="The run ended", severity="error", timeout=30)

    def _ended(self) -> None:
        monitor = self.conductor.monitor
        assert monitor is not None
        self.form.hold(None)
        self.runs_tab.reload(newest=True)
        training = self.conductor.training
        if isinstance(monitor.ended, Failed) and training and training.session:
            self._say_how_it_stands(monitor, training.session.run, monitor.ended.sentence)
        if isinstance(monitor.ended, Finished):
            result = f" Test: {result_words(monitor.test, monitor.best)}." if monitor.test else ""
            warning = f" {monitor.ended.warning}." if monitor.ended.warning else ""
            self.notify(
                f"{monitor.status}.{result}{warning}",
                title=monitor.run_id or "Run",
                severity="warning" if warning or monitor.has_no_result else "information",
            )

    @work(group="status")
    async def _say_how_it_stands(self, monitor: Monitor, run: RunFolder, sentence: str) -> None:
        """A run that failed says so on disk; one whose process is gone says nothing, and is interrupted. What nobody
        expected has a page of its own, which stays."""
        from metatui.tui.screens.dialogs.failure import FailureScreen, last_lines

        monitor.status = (await asyncio.to_thread(run.status)).capitalize()
        self.show_run()
        if run.crash_path.name in sentence:
            self.push_screen(FailureScreen(run, sentence, await asyncio.to_thread(last_lines, run)))

    def show_run(self) -> None:
        """Show how the run stands, and what can be done."""
        ours = self.shown is not None and self.shown is self.conductor.monitor
        self.work_tab.show(self.shown, self.conductor.phase if ours else Phase.IDLE, self._load)
        top = self.screen_stack[0].query_one(TopBar)
        top.phase, top.state = self.conductor.phase, self._state()
        top.warned = self.conductor.monitor is not None and self.conductor.monitor.has_no_result
        self.update_bars()

    def _state(self) -> tuple[str, ...]:
        monitor, phase = self.conductor.monitor, self.conductor.phase
        if monitor is None:
            return ()
        result = monitor.test or monitor.evaluation
        kind = "test" if monitor.test else "validation"
        warned = [f"{kind} {value(result)}"] if result and monitor.has_no_result else []
        if not phase.active:
            return monitor.status, *warned, monitor.run_id
        done, whole = monitor.packed or (monitor.iteration, monitor.settings.training.iterations)
        return phase.value, f"{done:,} of {whole:,}", *warned, monitor.run_id

    async def _sample(self) -> None:
        if not self.conductor.phase.active or self._leaving is not None:
            return
        monitor, training = self.conductor.monitor, self.conductor.training
        if monitor and training and training.session:
            device = monitor.started.device if monitor.started else "cpu"
            self._load = await asyncio.to_thread(self._sampler.sample, training.session.pid, device)

    def show_adaptation(self) -> None:
        """Show the marked runs beside each other, or the last evaluation of the run that is shown."""
        if self._beside:
            self.work_tab.show_adaptation(self._beside, self._beside_caption)
            return
        monitor = self.shown
        if monitor is None or not monitor.views:
            self.work_tab.show_adaptation((), "")
            return
        result = monitor.test or monitor.evaluation
        caption = f"Validation: {headline(result)}" if result else ""
        if monitor.test:
            caption = f"Test: {result_words(monitor.test, monitor.best)}"
        label = monitor.settings.algorithm.name
        views = RunViews(monitor.run_id, label, self._colour(monitor.run_id), monitor.views)
        self.work_tab.show_adaptation((views,), caption)

    def _colour(self, run_id: str) -> str:
        return palette.run_colour(self._colours.get(run_id, 0), self.current_theme.dark)

    def view_changed(self, view: View) -> None:
        self.work_tab.curves.view = view
        self.work_tab.curves.show(self.shown)
