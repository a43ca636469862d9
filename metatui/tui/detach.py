"""Runs that go on without the app: joined while they do, and left alone when the app ends, however it does."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from textual import on, work

from metatui.tui.actions import Phase
from metatui.tui.run_controller import Bench
from metatui.tui.terminal.keyboard import TerminalLost
from metatui.tui.terminal.suspend import continue_only_what_was_stopped
from metatui.utils.end_signals import SIGNALS
from metatui.utils.errors import MetatuiError

# What the first frame needs none of is imported where it is used.
if TYPE_CHECKING:
    from metatui.runs.storage.run_folder import RunFolder
    from metatui.tui.terminal.crash_info import LastWords

LONG = 15.0
"""Seconds for which a notice is seen that tells where a run is."""


class Background(Bench):
    """One run is followed at a time; whatever else is live goes on by itself."""

    to_attach: RunFolder | None = None
    """The live run that is followed from the start."""
    left: RunFolder | None = None
    """The run that the app leaves to the background by ending."""
    words: LastWords | None = None
    """Where the run that is followed is written down, for a process that outlives this one; None in tests."""

    def on_mount(self) -> None:
        if self.is_headless:
            return
        loop = asyncio.get_running_loop()
        for number in set(SIGNALS) - {signal.SIGINT}:  # ctrl+C is a key here
            loop.add_signal_handler(number, self.hang_up, 128 + number)
        continue_only_what_was_stopped()

    async def _settled(self) -> None:
        await super()._settled()
        if not self.screen_stack:
            return
        if self.to_attach:
            self.follow(self.to_attach)
        elif not self._warning:
            self._say_what_is_live()

    def tick(self) -> bool:
        more = super().tick()
        self._write_down(self._followed)
        return more

    def _write_down(self, run: RunFolder | None) -> None:
        if self.words:
            self.words.run = run

    @property
    def _followed(self) -> RunFolder | None:
        """The run that is followed and goes on."""
        training = self.conductor.training
        return training.session.run if training and training.session and self.conductor.phase.active else None

    @work(group="live")
    async def _say_what_is_live(self) -> None:
        from metatui.runs.storage.store import RunStore, live_runs

        live = [run.id for run in await asyncio.to_thread(live_runs, RunStore(self._runs_dir))]
        if not live or self.conductor.phase.active:
            return
        whose = f"{live[0]} goes" if len(live) == 1 else f"{len(live)} runs go"
        newest = "it" if len(live) == 1 else f"{live[0]}, 2 lists all"
        self.notify(f"{whose} on in the background: j follows {newest}.", timeout=LONG)

    @work(exclusive=True, group="open")
    async def action_attach(self) -> None:
        from metatui.runs.storage.store import RunStore, live_runs

        followed = self._followed
        live = [run for run in await asyncio.to_thread(live_runs, RunStore(self._runs_dir)) if run.run != followed]
        if live:
            await self._join(live[0].run)
        else:
            self.notify("No other run is live: F5 starts what the form says.", severity="warning")

    @work(exclusive=True, group="open")
    async def follow(self, run: RunFolder) -> None:
        """Follow a live run of another process in place of the one that is followed now, which goes on."""
        await self._join(run)

    async def _join(self, run: RunFolder) -> bool:
        """Whether `run` is followed now; where it is not, why is said and it is shown as it is on disk."""
        if run == self._followed:
            self.shown = self.conductor.monitor
        else:
            try:
                found = await asyncio.to_thread(self._sessions.attach, run)
            except MetatuiError as error:
                await self.show_from_disk(run)
                self.notify(f"{error}.", severity="warning", timeout=LONG)
                return False
            before = self._followed
            self.conductor.leave()
            self.begin(lambda: found.session, found.monitor, Phase.PAUSED if found.paused else Phase.RUNNING)
            self._write_down(run)
            if before:
                self.notify(f"{before.id} goes on in the background: enter in the list of runs (2) shows it again.")
        self._beside = []
        self.open_tab("work", "run")
        self.show_run()
        self.show_adaptation()
        return True

    async def show_from_disk(self, run: RunFolder) -> None:
        """Show `run` as its files tell of it."""
        raise NotImplementedError

    def action_detach(self) -> None:
        run = self._followed
        self.conductor.leave()
        self.shown = None
        self.form.hold(None)
        self.runs_tab.reload(newest=True)
        self._write_down(None)
        self.show_run()
        self.show_adaptation()
        name = run.id if run else "The run that was starting"
        self.notify(f"{name} goes on in the background: j follows it again.", timeout=LONG)

    def action_suspend(self) -> None:
        self.action_suspend_process()

    async def action_quit(self) -> None:
        if self.conductor.phase.active:
            self._ask_to_quit()
        else:
            self.exit()

    @work(exclusive=True, group="quit")
    async def _ask_to_quit(self) -> None:
        from metatui.tui.screens.dialogs.quit import QuitScreen

        training = self.conductor.training
        assert training is not None
        name = training.session.run.id if training.session else "The run that is starting"
        match await self.push_screen_wait(QuitScreen(name)):
            case "keep":
                # A run that is starting has no name yet, and may turn out to be impossible.
                await asyncio.to_thread(training.opened.wait)
                self.tick()
                if self.conductor.phase.active:
                    self._end(0)
            case "stop":
                self.conductor.stop()
                self.show_run()
                await asyncio.to_thread(training.over.wait)
                self.exit(return_code=0)

    @on(TerminalLost)
    def _terminal_lost(self) -> None:
        self.hang_up(128 + signal.SIGHUP)

    def hang_up(self, code: int) -> None:
        """The terminal is gone or the process is asked to end: the run has no part in it."""
        if self._leaving is None:
            self._leaving = code
            self._end(code)

    def _end(self, code: int) -> None:
        self.left = self._followed
        self.conductor.leave()
        self.exit(return_code=code)

    def on_unmount(self) -> None:
        self.conductor.leave()
        self._sessions.close()
