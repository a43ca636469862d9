"""One viewer of a run, as the run's process sees it. Nothing here ever waits."""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from metatui.events import Checkpointed, Command, Evaluated, Evaluating, Event, Progress
from metatui.runs.execution.control.line_splitter import LineSplitter
from metatui.runs.execution.control.messages import (
    LONGEST_COMMAND,
    LONGEST_REPORT,
    Hello,
    Report,
    progress_report,
    read_command,
    report,
)
from metatui.utils.errors import BadInput

log = logging.getLogger(__name__)

MOST_STEPS = 8192
"""Meta-steps that wait for a viewer; when there are more, it has to find them in metrics.jsonl."""

MOST_BATCHES = 64
"""Batches that wait for a viewer before those that are nothing but the way to a newer one are left out."""

MOST_OTHERS = 4096
"""Other events that wait for a viewer that reads nothing for hours; the oldest give way."""

MOST_UNREAD = 64 * 1024
"""Bytes that a viewer may leave unread and still be told why its lines are no commands."""

CHUNK = 64 * 1024


class Batch:
    """Events that happened between two rounds of the server, written out once for all viewers."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.steps = sum(isinstance(event, Progress) for event in events)
        self._data: bytes | None = None

    @property
    def data(self) -> bytes:
        if self._data is None:
            self._data = b"".join(_lines(self.events))
        return self._data


class Viewer:
    """A connection, with what it has yet to be told and what it has said so far."""

    def __init__(self, connection: socket.socket, hello: Hello) -> None:
        connection.setblocking(False)
        self.connection = connection
        self._received = LineSplitter(LONGEST_COMMAND)
        self._batches: deque[Batch] = deque()
        self._unsent = bytearray(Report(hello=hello).line())
        self._listens = True

    def fileno(self) -> int:
        return self.connection.fileno()

    @property
    def pending(self) -> bool:
        """Whether there is something to send."""
        return bool(self._unsent or self._batches)

    def put(self, batch: Batch) -> None:
        if not self._listens:
            return
        self._batches.append(batch)
        if len(self._batches) > MOST_BATCHES or sum(waiting.steps for waiting in self._batches) > MOST_STEPS:
            events = [event for waiting in self._batches for event in waiting.events]
            self._batches = deque([Batch(_essence(events))])

    def send(self) -> None:
        """Sends what the connection takes."""
        while self.pending:
            if not self._unsent:
                self._unsent += self._batches.popleft().data
            try:
                sent = self.connection.send(self._unsent[:CHUNK])
            except BlockingIOError:
                return
            except OSError:  # it has gone; what it said before that is still to be received
                self._listens = False
                self._unsent.clear()
                self._batches.clear()
                return
            del self._unsent[:sent]

    def receive(self) -> Iterator[Command]:
        """The commands that have come in; other lines are answered. Raises OSError where the viewer is gone."""
        try:
            data = self.connection.recv(CHUNK)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionResetError
        for line in self._received.feed(data):
            if line is None:
                self._refuse(f"a command is one line of at most {LONGEST_COMMAND:,} bytes")
                continue
            try:
                yield read_command(line)
            except BadInput as error:
                self._refuse(str(error))

    def _refuse(self, sentence: str) -> None:
        if self._listens and len(self._unsent) <= MOST_UNREAD:
            self._unsent += Report(refused=sentence).line()

    def close(self) -> None:
        self.connection.close()


def _essence(events: Sequence[Event]) -> list[Event]:
    """`events` without meta-steps and without what a later one of them makes stale."""
    kept: list[Event] = []
    newest: set[type] = set()
    for event in reversed(events):
        if isinstance(event, Progress):
            continue
        if isinstance(event, Evaluated | Evaluating | Checkpointed):
            if type(event) in newest:
                if not isinstance(event, Evaluated):
                    continue
                event = replace(event, views=())
            newest.add(type(event))
        kept.append(event)
    return kept[:MOST_OTHERS][::-1]


def _lines(events: Sequence[Event]) -> Iterator[bytes]:
    for kind, alike in groupby(events, type):
        if kind is Progress:
            yield progress_report([event for event in alike if isinstance(event, Progress)]).line()
            continue
        for event in list(alike)[-1:] if kind is Evaluating else alike:
            try:
                line = report(event).line()
            except (ValidationError, PydanticSerializationError):  # a text that UTF-8 has no bytes for
                log.exception("%s could not be written out for viewers", kind.__name__)
                continue
            if len(line) <= LONGEST_REPORT:
                yield line
            elif isinstance(event, Evaluated):
                yield report(replace(event, views=())).line()
