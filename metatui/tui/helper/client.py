"""Client of a helper process. It sends requests, yields the replies, and stops the process."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from metatui.utils.child_process import ChildProcess, describe_exit

log = logging.getLogger(__name__)

NICENESS = 10
"""Niceness of the helper process. The app has a higher priority, so it responds to keys immediately."""


@dataclass(frozen=True)
class Yielded:
    """An intermediate value that a request's generator yielded."""

    request: int
    value: Any


@dataclass(frozen=True)
class Returned:
    """The value that a request's generator returned."""

    request: int
    value: Any


@dataclass(frozen=True)
class WorkerError:
    """The failure of a request."""

    request: int
    sentence: str
    """Reason for the failure, shown to the user."""
    traceback: str = ""
    """Traceback for the log if the failure is a bug in metatui or a plugin, otherwise an empty string."""
    dead: bool = False
    """True if the helper process has ended."""


Reply = Yielded | Returned | WorkerError


class Helper:
    """A child process that runs one request at a time. A newer request replaces the current one.

    Requests and replies are pickled. Only the app and this child process exchange them, and they are never stored in a
    file. `ask` and `stop` do not block, so call them in the app's thread. Iterate over `replies` in another thread.
    """

    def __init__(self) -> None:
        """Start the process. Raises MetatuiError if it cannot be started."""
        self._child = ChildProcess("metatui.tui.helper.worker", niceness=NICENESS)
        self._requests = 0
        self._stopped = False

    def ask(self, call: Callable[[], Generator[Any, None, Any]]) -> int:
        """Run `call` in place of the current request. Return the request number, which the replies to `call` contain.

        Args:
            call: picklable function, such as a `functools.partial` of a module's function with picklable arguments.
        """
        self._requests += 1
        with suppress(OSError):  # the process has ended, which `replies` reports
            self._child.socket.sendall(pickle.dumps((self._requests, call)))
        return self._requests

    def stop(self) -> None:
        """Kill the process immediately."""
        self._stopped = True
        self._child.kill()

    def replies(self) -> Iterator[Reply]:
        """Yield replies until the helper is stopped. The last one is a `WorkerError` if the process crashed."""
        try:
            while True:
                try:
                    reply: Reply = pickle.load(self._child.file)
                except (EOFError, OSError, pickle.UnpicklingError):  # the process ended, perhaps within a reply
                    break
                if isinstance(reply, WorkerError) and reply.traceback:
                    log.error("a request to the helper process failed:\n%s", reply.traceback)
                yield reply
        finally:
            code = self._child.end()
        if not self._stopped:
            yield WorkerError(self._requests, f"the helper process {describe_exit(code)}", dead=True)
