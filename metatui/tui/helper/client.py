"""The app's side of a helper: it sends requests, reads answers in a thread, and ends the child process."""

from __future__ import annotations

import logging
import pickle
import signal
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Any

from metatui.tui.helper.messages import Reply, WorkerError
from metatui.utils.subprocesses import module

log = logging.getLogger(__name__)

NICENESS = 10
"""The child makes way for the app and for a training."""

CHILD = (*module("metatui.tui.helper.worker"), str(NICENESS))


class Helper:
    """A child process that computes one thing at a time, the newest that it was asked for.

    `ask` and `stop` are for the app's thread and never wait; `replies` is iterated in a thread of its own.
    """

    def __init__(self) -> None:
        # In a session of its own: ctrl+C in the terminal is not for it.
        self._child = subprocess.Popen(
            CHILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._asked = 0
        self._stopped = False

    def ask(self, call: Callable[[], Generator[Any, None, Any]]) -> int:
        """Compute `call` in place of whatever was asked for before; returns the number that replies to it carry.

        Args:
            call: can be pickled, as a `functools.partial` of a function and plain values can.
        """
        self._asked += 1
        assert self._child.stdin is not None
        with suppress(OSError, ValueError):  # it died, which `replies` says
            pickle.dump((self._asked, call), self._child.stdin)
            self._child.stdin.flush()
        return self._asked

    def stop(self) -> None:
        """End it at once, whatever it is doing."""
        self._stopped = True
        self._child.kill()

    def replies(self) -> Iterator[Reply]:
        """What comes back, until the helper is stopped; the last one is `WorkerError` where it died by itself."""
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            while True:
                try:
                    reply: Reply = pickle.load(child.stdout)
                except (EOFError, pickle.UnpicklingError):  # it is gone, or was cut off within an answer
                    break
                if isinstance(reply, WorkerError) and reply.traceback:
                    log.error("a helper failed:\n%s", reply.traceback)
                yield reply
        finally:
            child.kill()
            code = child.wait()
            child.stdout.close()
            with suppress(OSError):
                child.stdin.close()
        if not self._stopped:
            yield WorkerError(self._asked, _of_death(code), dead=True)


def _of_death(code: int) -> str:
    if code == -signal.SIGKILL:
        return "the process that computed it was killed, most likely because memory ran out"
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"the process that computed it died ({how})"
