"""Controller of runs that train in the background: connects the app to them, disconnects it, and quits the app."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from metatui.tui.controllers.sessions import Sessions
from metatui.tui.keyboard.actions import BY_ID, key_name, with_keys
from metatui.tui.terminal.suspend import continue_only_after_suspend
from metatui.utils.end_signals import SIGNALS
from metatui.utils.errors import MetatuiError

# Imported in the functions that use them, because the first frame does not need them.
if TYPE_CHECKING:
    from textual.worker import Worker

    from metatui.runs.storage.run_folder import RunFolder
    from metatui.runs.storage.summary import RunSummary
    from metatui.tui.app import MetatuiApp
    from metatui.tui.terminal.crash_info import CrashInfo

MESSAGE_SECONDS = 15.0
"""Seconds for which messages about a background run are shown."""


class BackgroundController:
    """Connects the app to runs that train in the background, and disconnects it when the app exits."""

    def __init__(self, app: MetatuiApp, sessions: Sessions) -> None:
        self._app, self._sessions = app, sessions
        self.to_attach: RunFolder | None = None
        """Run that the app follows after startup, or None if it follows no run. The run must be training."""
        self.left: RunFolder | None = None
        """Run that continues after the app has exited, or None if no run continues."""
        self.crash_info: CrashInfo | None = None
        """Shared memory that tells the parent process which run the app is following. None in tests."""
        self._asking_to_quit = False
        self.leaving = False
        """True once the terminal is lost or the process is asked to end."""

    def handle_signals(self) -> None:
        if self._app.is_headless:
            return
        loop = asyncio.get_running_loop()
        for number in set(SIGNALS) - {signal.SIGINT}:  # the app handles ctrl+C as a key
            loop.add_signal_handler(number, self.hang_up, 128 + number)
        continue_only_after_suspend()

    def attach_or_announce(self, *, silent: bool) -> None:
        """If a run was given on the command line, follow it. Otherwise, tell the user which runs are training.

        Args:
            silent: whether to omit the message about the runs that are training.
        """
        if self.to_attach:
            self._app.run_worker(self.attach(self.to_attach), exclusive=True, group="open")
        elif not silent:
            self._start(self._name_live_runs, group="live")

    def _start(
        self, work: Callable[[], Coroutine[None, None, None]], *, group: str, exclusive: bool = False
    ) -> Worker[None]:
        """Start a worker that calls `work`.

        `work` is a function, because a coroutine that is never awaited would cause a warning.
        """
        return self._app.run_worker(work, group=group, exclusive=exclusive)

    def write_followed_run(self) -> None:
        if self.crash_info:
            self.crash_info.run = self._app.run_controller.followed

    async def _live_runs(self) -> list[RunSummary]:
        from metatui.runs.storage.store import RunStore, live_runs

        return list(await asyncio.to_thread(live_runs, RunStore(self._app.runs_dir)))

    async def _name_live_runs(self) -> None:
        live = [run.id for run in await self._live_runs()]
        if not live or self._app.run_controller.client.phase.active:
            return
        attach, runs = key_name(BY_ID["attach"].key), key_name(BY_ID["tab_runs"].key)
        if len(live) == 1:
            text = f"{live[0]} is training in the background: press {attach} to follow it."
        else:
            follow = f"press {attach} to follow {live[0]}, or {runs} to list all runs."
            text = f"{len(live)} runs are training in the background: {follow}"
        self._app.notify(text, timeout=MESSAGE_SECONDS)

    def action_attach(self) -> None:
        self._start(self._attach_to_newest, group="open", exclusive=True)

    async def _attach_to_newest(self) -> None:
        followed = self._app.run_controller.followed
        live = [run for run in await self._live_runs() if run.run != followed]
        if live:
            await self.attach(live[0].run)
        else:
            self._app.notify(
                with_keys("No other run is training. {start} starts one with the settings in the form."),
                severity="warning",
            )

    async def attach(self, run: RunFolder) -> None:
        """Follow a run that is training. The run that the app has followed until now continues in the background.

        If the process of `run` cannot be reached, show the reason, and show the run as it is on disk.
        """
        app, controller = self._app, self._app.run_controller
        before = controller.followed
        if run == before and controller.client.model:
            controller.show(controller.client.model)
            return
        try:
            attached = await asyncio.to_thread(self._sessions.attach, run)
        except MetatuiError as error:
            await app.runs.show_from_disk(run)
            app.notify(f"{error}.", severity="warning", timeout=MESSAGE_SECONDS)
            return
        left = self._followed_name if controller.client.phase.active else ""
        controller.client.leave()
        controller.begin(lambda: attached.session, attached.model, attached)
        if self.crash_info:
            self.crash_info.run = run
        if left:
            again = with_keys("{open_run} in the list of runs ({tab_runs}) shows it again.")
            app.notify(f"{left} continues in the background: {again} {app.presets.return_note}".strip())

    @property
    def _followed_name(self) -> str:
        run = self._app.run_controller.followed
        return run.id if run else "The run that was starting"  # it gets its name when it starts

    def action_detach(self) -> None:
        name = self._followed_name
        kept = self._app.run_controller.leave()
        self.write_followed_run()
        self._app.notify(
            name + with_keys(" continues in the background: press {attach} to follow it again.") + kept,
            timeout=MESSAGE_SECONDS,
        )

    def action_suspend(self) -> None:
        self._app.action_suspend_process()

    def action_quit(self) -> None:
        if self._asking_to_quit:
            return
        if self._app.run_controller.client.phase.active:
            self._start(self._ask_to_quit, group="quit", exclusive=True)
        else:
            self._app.exit()

    async def _ask_to_quit(self) -> None:
        from metatui.tui.screens.dialogs.quit import QuitScreen

        controller = self._app.run_controller
        receiver = controller.client.receiver
        assert receiver is not None
        state = f"{receiver.run.run.id} is training" if receiver.run else "A run is starting"
        self._asking_to_quit = True
        try:
            answer = await self._app.push_screen_wait(QuitScreen(state))
        finally:
            self._asking_to_quit = False
        match answer:
            case "keep":
                # A run that is starting has no name yet, and may fail to start.
                await asyncio.to_thread(receiver.opened.wait)
                controller.update()
                if controller.client.phase.active:
                    self._exit(0)
            case "stop":
                controller.action_stop()
                await asyncio.to_thread(receiver.over.wait)
                self._app.exit(return_code=0)

    def close_question(self) -> None:
        """Close the dialog that asks whether the run should continue. Called when the run has ended."""
        from metatui.tui.screens.dialogs.quit import QuitScreen

        if isinstance(self._app.screen, QuitScreen):
            self._app.screen.dismiss("cancel")

    def hang_up(self, code: int) -> None:
        """Exit with `code` without asking, because the terminal was lost or the process was asked to end."""
        if not self.leaving:
            self.leaving = True
            self._exit(code)

    def _exit(self, code: int) -> None:
        self.left = self._app.run_controller.followed
        self._app.run_controller.client.leave()
        self._app.exit(return_code=code)

    def close(self) -> None:
        self._app.run_controller.client.leave()
        self._sessions.close()
