"""Fake helper process that records requests and sends the replies given by a test."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Generator, Iterator
from queue import Queue
from typing import Any, ClassVar

from textual.pilot import Pilot

from metatui.tui.helper import Reply, Returned, WorkerError, Yielded


class FakeHelper:
    """Replacement for `Helper` that starts no process. `made` lists all instances, the newest last."""

    made: ClassVar[list[FakeHelper]] = []

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.stopped = False
        self._replies: Queue[Reply | None] = Queue()
        self.made.append(self)

    def ask(self, call: Callable[[], Generator[Any, None, Any]]) -> int:
        self.asked.append(pickle.loads(pickle.dumps(call)))
        return len(self.asked)

    def stop(self) -> None:
        self.stopped = True
        self._replies.put(None)

    def replies(self) -> Iterator[Reply]:
        while (reply := self._replies.get()) is not None:
            yield reply
            self._replies.task_done()
        self._replies.task_done()

    async def reply(
        self, pilot: Pilot[Any], *values: Any, done: Any = None, error: str = "", dead: bool = False, request: int = 0
    ) -> None:
        """Reply to a request: yield `values`, then return `done` or fail with `error`.

        Args:
            dead: whether the error means that the helper process has died.
            request: number of the request, counted from 1. By default, reply to the newest one.
        """
        number = request or len(self.asked)
        for value in values:
            self._replies.put(Yielded(number, value))
        if done is not None:
            self._replies.put(Returned(number, done))
        if error:
            self._replies.put(WorkerError(number, error, dead=dead))
        if dead:
            self._replies.put(None)
        await asyncio.to_thread(self._replies.join)
        await pilot.pause()
