"""Queue of the commands that a trainer executes between meta-steps."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from metatui.events import Command


class CommandQueue:
    """Queue of commands that can be examined while they stay in the queue.

    Any thread or signal handler may call `put`; only the training thread may call the other methods.
    """

    def __init__(self) -> None:
        self._new: queue.SimpleQueue[Command] = queue.SimpleQueue()  # `put` is safe in signal handlers
        self._examined: deque[Command] = deque()
        """Commands that precede those in `_new`."""

    def put(self, command: Command) -> None:
        self._new.put(command)

    def get(self) -> Command:
        """Remove and return the first command; wait if there is none."""
        return self._examined.popleft() if self._examined else self._new.get()

    def wait(self, timeout: float) -> Command | None:
        """Wait for a command that has not been examined, and return it; return None on a timeout.

        The command stays in the queue.
        """
        with suppress(queue.Empty):
            self._examined.append(self._new.get(timeout=timeout))
            return self._examined[-1]
        return None

    def waiting(self) -> Sequence[Command]:
        """Return all commands. They stay in the queue."""
        while not self._new.empty():
            self._examined.append(self._new.get())
        return self._examined
