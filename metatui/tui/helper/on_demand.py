"""Helper process that starts with the first request and is stopped when it has been idle for some minutes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

from metatui.tui.helper.client import Helper, Reply, Returned, WorkerError
from metatui.utils.errors import MetatuiError

IDLE_SECONDS = 180.0
"""Idle time in seconds after which the process is stopped, because it uses hundreds of megabytes of memory. The next
request starts a new process and therefore takes a few seconds longer."""


class OnDemandHelper:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._helper: Helper | None = None
        self._replies: Iterator[Reply] = iter(())
        self._idle: threading.Timer | None = None

    def result_of(self, call: Callable[[], Generator[Any, None, Any]]) -> Any:
        """Run `call` in the process, and return what it returns. This blocks, so call it in a thread.

        Args:
            call: picklable function that returns a generator, such as a `functools.partial` of a module's function.

        Raises:
            MetatuiError: if the request fails, or if the process ends.
        """
        with self._lock:
            if self._idle:
                self._idle.cancel()
            if self._helper is None:
                self._helper = Helper()
                self._replies = self._helper.replies()
            self._helper.ask(call)
            reply = next(self._replies, None)
            if reply is None or (isinstance(reply, WorkerError) and reply.dead):
                self._helper = None
            else:
                self._idle = threading.Timer(IDLE_SECONDS, self._stop_idle)
                self._idle.daemon = True
                self._idle.start()
            if isinstance(reply, Returned):
                return reply.value
            raise MetatuiError(reply.sentence if isinstance(reply, WorkerError) else "the app is closing")

    def close(self) -> None:
        if self._helper:
            self._helper.stop()

    def _stop_idle(self) -> None:
        """Stop the process, unless a request has cancelled the timer. This runs in the timer's thread."""
        with self._lock:
            if self._helper and self._idle is threading.current_thread():
                self._helper.stop()
                list(self._replies)  # waits until the process has ended
                self._helper = None
