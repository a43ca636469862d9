"""Base class of screens whose content is computed in a helper process."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

from textual import on
from textual.message import Message
from textual.screen import ModalScreen, ScreenResultType

from metatui.tui.helper import Helper, Reply, Returned, WorkerError, Yielded


class AnalysisScreen(ModalScreen[ScreenResultType]):
    """Runs an analysis in a helper process, so that keys respond and cancelling takes effect immediately.

    A subclass calls `start_analysis` and implements `show_progress`, `show_result` and `show_failure`. Only the newest
    request is reported. The helper stays alive between requests, with torch loaded, and ends with the screen.
    """

    @dataclass
    class Replied(Message, bubble=False):
        """The helper process sent a reply."""

        helper: Helper
        reply: Reply

    _helper: Helper | None = None
    _request = 0
    """Number of the request in progress; 0 without a request."""

    @property
    def is_busy(self) -> bool:
        return self._request != 0

    def start_analysis(self, analysis: Callable[[], Generator[Any, None, Any]]) -> None:
        """Run `analysis` instead of the one in progress.

        Args:
            analysis: Picklable, such as a `functools.partial` of a function; yields progress and returns the result.
        """
        if self._helper is None:
            self._helper = Helper()
            self.run_worker(partial(self._listen, self._helper), thread=True, exit_on_error=False, group="analysis")
        self._request = self._helper.ask(analysis)

    def stop_analysis(self) -> None:
        """Kill the helper process; the next request starts another one."""
        self._request = 0
        if self._helper is not None:
            self._helper.stop()
            self._helper = None

    def on_unmount(self) -> None:
        self.stop_analysis()

    def _listen(self, helper: Helper) -> None:
        """Forward replies to the screen. This runs in a thread."""
        for reply in helper.replies():
            self.post_message(self.Replied(helper, reply))

    @on(Replied)
    def _dispatch_reply(self, event: Replied) -> None:
        reply = event.reply
        if event.helper is not self._helper:
            return
        current = reply.request == self._request
        if isinstance(reply, WorkerError) and reply.dead:
            self._helper = None
        if not current:
            return
        match reply:
            case Yielded(value=value):
                self.show_progress(value)
            case Returned(value=value):
                self._request = 0
                self.show_result(value)
            case WorkerError(sentence=sentence):
                self._request = 0
                self.show_failure(sentence)

    def show_progress(self, progress: Any) -> None:
        """Show a value that the analysis yielded."""
        raise NotImplementedError

    def show_result(self, result: Any) -> None:
        """Show the value that the analysis returned."""
        raise NotImplementedError

    def show_failure(self, reason: str) -> None:
        """Show the reason of a failure.

        Args:
            reason: A sentence without its full stop.
        """
        raise NotImplementedError
