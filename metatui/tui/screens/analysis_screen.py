"""Base class of screens whose content is computed in another process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

from textual import on
from textual.message import Message
from textual.screen import ModalScreen, ScreenResultType
from textual.timer import Timer

from metatui.tui.helper import Helper, Reply, Returned, WorkerError, Yielded
from metatui.tui.widgets.charts import LineChart
from metatui.tui.widgets.key_line import KeyLine
from metatui.utils import paths
from metatui.utils.errors import MetatuiError

log = logging.getLogger(__name__)


class ReplySource(Protocol):
    """Interface to a computation in another process, for example in the process of a `Helper`."""

    def replies(self) -> Iterator[Reply]:
        """Yield replies until the computation ends or is stopped. This method is called in a thread.

        Raises:
            MetatuiError: If the computation fails.
        """
        ...

    def stop(self) -> None: ...


class AnalysisScreen(ModalScreen[ScreenResultType]):
    """Runs an analysis in another process, so that keys work during the analysis and can cancel it immediately.

    A subclass calls `start_analysis` or `listen_to`, and implements `show_progress`, `show_result` and `show_failure`.
    """

    @dataclass
    class Replied(Message, bubble=False):
        """The other process sent a reply."""

        source: ReplySource
        reply: Reply

    IDLE_SECONDS: ClassVar[float] = 180.0
    """Seconds without a request after which the helper process is stopped to free up to 1 GB of memory. The next
    request then takes a few seconds longer, because it starts a new process."""

    _source: ReplySource | None = None
    _helper: Helper | None = None
    _request = 0
    """Number of the request in progress, or 0 if no request is in progress."""
    _idle: Timer | None = None

    @property
    def is_busy(self) -> bool:
        return self._request != 0

    def start_analysis(self, analysis: Callable[[], Generator[Any, None, Any]]) -> None:
        """Run `analysis` in a helper process. If an analysis is in progress, its replies are ignored from now on.

        The helper process stays alive between requests, with torch loaded. It is stopped when the screen is closed, or
        after `IDLE_SECONDS` without a request.

        Args:
            analysis: Picklable function, such as a `functools.partial`. It returns a generator that yields progress and
                returns the result.
        """
        self._keep_helper()
        if self._helper is None:
            try:
                self._helper = Helper()
            except MetatuiError as error:
                self.call_later(self.show_failure, str(error))
                return
            self.listen_to(self._helper)
        self._request = self._helper.ask(analysis)

    def listen_to(self, source: ReplySource) -> None:
        """Show the replies from `source`, which serves a single request. When the screen is closed, stop `source`."""
        self._source, self._request = source, 1
        self.run_worker(partial(self._forward, source), thread=True, exit_on_error=False, group="analysis")

    def stop_analysis(self) -> None:
        """Kill the process that runs the analysis. The next request starts a new one."""
        source, self._source, self._helper, self._request = self._source, None, None, 0
        if source is not None:
            source.stop()

    def _keep_helper(self) -> None:
        """Stop the timer that would end the helper process."""
        if self._idle:
            self._idle.stop()

    def _finish(self) -> None:
        """Record that the request has ended, and schedule the end of the helper process."""
        self._request = 0
        self._keep_helper()
        if self._helper:
            self._idle = self.set_timer(self.IDLE_SECONDS, self.stop_analysis)

    def on_unmount(self) -> None:
        self.stop_analysis()

    def action_cursor(self) -> None:
        """Show a cursor on the focused chart or, if no chart has the focus, on the first visible chart."""
        charts = [chart for chart in self.query(LineChart) if chart.display]
        for chart in sorted(charts, key=lambda chart: not chart.has_focus)[:1]:
            chart.action_cursor()

    @on(LineChart.CursorChanged)
    def _show_cursor_keys(self) -> None:
        self.query_one(KeyLine).cursor = any(chart.has_cursor for chart in self.query(LineChart))

    def _forward(self, source: ReplySource) -> None:
        """Forward replies to the screen. This runs in a thread."""
        try:
            for reply in source.replies():
                self.post_message(self.Replied(source, reply))
        except MetatuiError as error:
            self.post_message(self.Replied(source, WorkerError(1, str(error), dead=True)))
        except Exception as error:
            log.exception("an analysis failed")
            sentence = f"an internal error in metatui ({type(error).__name__}), described in {paths.log_file()}"
            self.post_message(self.Replied(source, WorkerError(1, sentence, dead=True)))

    @on(Replied)
    def _dispatch_reply(self, event: Replied) -> None:
        reply = event.reply
        if event.source is not self._source:
            return
        dead = isinstance(reply, WorkerError) and reply.dead
        if dead:
            self._source = self._helper = None
        if reply.request != self._request and not (dead and self.is_busy):
            return
        match reply:
            case Yielded(value=value):
                self.show_progress(value)
            case Returned(value=value):
                self._finish()
                self.show_result(value)
            case WorkerError(sentence=sentence):
                self._finish()
                self.show_failure(sentence)

    def show_progress(self, progress: Any) -> None:
        """Show a value that the analysis yielded."""
        raise NotImplementedError

    def show_result(self, result: Any) -> None:
        """Show the value that the analysis returned."""
        raise NotImplementedError

    def show_failure(self, reason: str) -> None:
        """Show why the analysis failed.

        Args:
            reason: A sentence without a full stop at the end.
        """
        raise NotImplementedError
