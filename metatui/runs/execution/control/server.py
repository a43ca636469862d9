"""Control server of a run: a background thread that sends events to viewers and receives their commands.

The training thread only queues events, and only while a viewer is connected. Each viewer has its own queue. If the
viewer does not keep up, events are dropped from this queue, so a stalled viewer slows down neither training nor other
viewers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from metatui.events import Checkpointed, Command, Evaluated, Evaluating, Event, Progress
from metatui.runs.execution.control.messages import (
    MAX_COMMAND_BYTES,
    MAX_REPORT_BYTES,
    PROTOCOL,
    Hello,
    Phase,
    Report,
    read_command,
    report,
)
from metatui.runs.execution.control.sockets import is_own, listen, socket_path
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import reason
from metatui.utils.text import sanitize

if TYPE_CHECKING:
    from metatui.runs.execution.session import Session

log = logging.getLogger(__name__)

EVERY_SECONDS = 0.25
"""Seconds between two batches of progress."""

MAX_PENDING_EVENTS = 8192
"""Maximum number of events queued for the server's thread; if there are more, progress events are dropped."""

MAX_VIEWERS = 16

LINGER_SECONDS = 0.5
"""Maximum number of seconds that a run's process waits before it exits, so that viewers can read all events."""

MAX_BATCHES = 64
"""Maximum number of batches queued for a viewer.

If there are more, progress and superseded events are dropped; the viewer has to read progress from metrics.jsonl.
"""

MAX_VIEWER_EVENTS = 4096
"""Maximum number of events, not counting progress, that are queued for a viewer that does not read. If there are more,
the oldest are dropped."""

MAX_UNREAD_BYTES = 64 * 1024
"""Maximum number of bytes waiting to be sent to a viewer. If there are more, the viewer's invalid commands get no
answer."""

CHUNK = 64 * 1024


class Batch:
    """Batch of events that are sent together, encoded once for all viewers."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.data = b"".join(_lines(events))


class Viewer:
    """Connection to a viewer, with a queue of batches to send. It also receives the commands of the viewer."""

    def __init__(self, connection: socket.socket, hello: Hello) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._batches: deque[Batch] = deque()
        self._unsent = bytearray(Report(hello=hello).line())
        self._changed = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None
        self._listens = True
        self._over = False

    def put(self, batch: Batch) -> None:
        """Queue `batch` for this viewer. If the queue is full, drop events from it."""
        if not self._listens:
            return
        self._batches.append(batch)
        if len(self._batches) > MAX_BATCHES:
            self._batches = deque([Batch(_without_stale([event for batch in self._batches for event in batch.events]))])
        self._changed.set()

    async def serve(self, submit: Callable[[Command], None]) -> None:
        """Send batches to the viewer and pass the viewer's commands to `submit`, until the viewer disconnects."""
        self._sending = asyncio.create_task(self._send())
        try:
            await self._receive(submit)
        finally:
            self._sending.cancel()
            await asyncio.wait([self._sending])
            self.close()

    async def finish(self) -> None:
        """Wait until all queued data have been sent."""
        self._over = True
        self._changed.set()
        if self._sending:
            await asyncio.wait([self._sending])

    def close(self) -> None:
        self._connection.close()

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                if not self._unsent and self._batches:
                    self._unsent += self._batches.popleft().data
                if self._unsent:
                    data, self._unsent = self._unsent, bytearray()
                    await loop.sock_sendall(self._connection, data)
                elif self._over:
                    return
                else:
                    await self._changed.wait()
                    self._changed.clear()
        except OSError:  # the viewer has disconnected, but its last commands must still be received
            self._listens = False
            self._batches.clear()

    async def _receive(self, submit: Callable[[Command], None]) -> None:
        loop = asyncio.get_running_loop()
        rest, skipping = b"", False
        with suppress(OSError):
            while data := await loop.sock_recv(self._connection, CHUNK):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if skipping or len(line) > MAX_COMMAND_BYTES:
                        self._refuse(f"a command must be one line of at most {MAX_COMMAND_BYTES:,} bytes")
                        skipping = False
                    else:
                        self._receive_line(line, submit)
                if len(rest) > MAX_COMMAND_BYTES:
                    rest, skipping = b"", True
                await asyncio.sleep(0)  # let the other viewers proceed

    def _receive_line(self, line: bytes, submit: Callable[[Command], None]) -> None:
        try:
            submit(read_command(line))
        except BadInput as error:
            self._refuse(str(error))

    def _refuse(self, sentence: str) -> None:
        if self._listens and len(self._unsent) <= MAX_UNREAD_BYTES:
            self._unsent += Report(refused=sentence).line()
            self._changed.set()


class ControlServer:
    """Server of a run's socket. The training thread, which holds the run's lock, calls `open`, `send` and `close`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._news: deque[Event] = deque()
        self._urgent = False
        self._evaluating: Evaluating | None = None
        """The last event of the current validation or test."""
        self._closing = False
        self._listening = False
        """Whether a viewer is connected. If not, events are not queued."""
        self._viewers: list[Viewer] = []
        self._tasks: set[asyncio.Task[None]] = set()
        """References to running asyncio tasks, because the event loop keeps only weak references."""
        self._listener: socket.socket | None = None
        self._file: os.stat_result | None = None
        self._wake = asyncio.Event()
        self._runner: asyncio.Runner | None = None
        self._thread: threading.Thread | None = None

    def adopt(self, connection: socket.socket) -> None:
        """Add a viewer that receives all events. Call this method before `open`."""
        self._viewers.append(Viewer(connection, self._hello()))
        self._listening = True

    def open(self) -> str | None:
        """Start accepting connections from viewers.

        Returns:
            An error message if no connections can be accepted (the run then trains without viewers), otherwise None.
        """
        problem = None
        try:
            self._listener = listen(self._session.run)
            self._file = socket_path(self._session.run).lstat()
        except OSError as error:
            problem = f"{quote(str(socket_path(self._session.run)), 200)} cannot be created ({reason(error)})"
        try:
            if self._listener or self._viewers:
                # With a factory, the runner does not affect the event loop of the training thread (in a notebook).
                runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
                runner.get_loop()  # raises OSError if too many files are open
                self._runner = runner
                self._thread = threading.Thread(target=self._run, name="control", daemon=True)
                self._thread.start()
        except (OSError, RuntimeError) as error:  # too many open files or threads; training works without viewers
            problem = reason(error) if isinstance(error, OSError) else str(error)
            self._close_sockets()
            if self._runner:
                self._runner.get_loop().close()
        return problem and f"No other process can show or stop this run: {problem}"

    def send(self, event: Event) -> None:
        """Queue `event` for the viewers without blocking."""
        routine = isinstance(event, Progress | Evaluating)
        if not isinstance(event, Progress):
            self._evaluating = event if isinstance(event, Evaluating) else None
        if not self._listening or (routine and len(self._news) >= MAX_PENDING_EVENTS):
            return
        self._news.append(event)
        if not routine:
            self._urgent = True
        # The first event of a batch wakes the thread; the following events are sent with it.
        if not routine or len(self._news) == 1:
            self._notify()

    def close(self) -> None:
        """Send all queued events and disconnect the viewers. A second call does nothing."""
        if self._closing:
            return
        self._closing = True
        if self._file:
            path = socket_path(self._session.run)
            with suppress(OSError):
                if os.path.samestat(path.lstat(), self._file):  # or the folder now belongs to another run
                    path.unlink()
        if self._thread and self._thread.is_alive():
            self._notify()
            self._thread.join(2 * LINGER_SECONDS)
        else:
            self._close_sockets()

    def _notify(self) -> None:
        if self._runner:
            with suppress(RuntimeError):  # the loop is already closed
                self._runner.get_loop().call_soon_threadsafe(self._wake.set)

    def _close_sockets(self) -> None:
        self._listening = False
        for source in (*self._viewers, self._listener):
            if source:
                source.close()

    def _hello(self) -> Hello:
        session = self._session
        phase: Phase = "paused" if session.outcome.status == "paused" else "running"
        return Hello(
            protocol=PROTOCOL,
            run=session.run.id,
            pid=os.getpid(),
            host=sanitize(socket.gethostname()),
            phase="evaluating" if self._evaluating else phase,
            iteration=session.outcome.iteration,
            settings=session.settings,
        )

    def _run(self) -> None:
        # Signals must be delivered to the training thread.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        assert self._runner
        try:
            with self._runner:
                self._runner.run(self._serve())
        except Exception:
            log.exception("the control socket failed; training continues without it")
        finally:
            self._close_sockets()

    async def _serve(self) -> None:
        """Send events to the viewers until `close`: progress every `EVERY_SECONDS`, other events immediately."""
        loop = asyncio.get_running_loop()
        for viewer in self._viewers:
            self._spawn(self._show(viewer))
        if self._listener:
            loop.add_reader(self._listener, self._accept)
        await asyncio.sleep(0)  # let the viewers start sending, even if the run has already ended
        due = 0.0
        while not self._closing:
            wait = None if not self._news else 0.0 if self._urgent else due - loop.time()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            self._wake.clear()
            if self._urgent or loop.time() >= due:
                self._urgent = False
                self._broadcast()
                due = loop.time() + EVERY_SECONDS
        if self._listener:
            loop.remove_reader(self._listener)
        self._broadcast()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await asyncio.gather(*(viewer.finish() for viewer in self._viewers))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._listener
        try:
            connection, _ = self._listener.accept()
        except OSError:  # the viewer has disconnected, or too many files are open: try again later
            loop.remove_reader(self._listener)
            loop.call_later(EVERY_SECONDS, loop.add_reader, self._listener, self._accept)
            return
        if len(self._viewers) >= MAX_VIEWERS or not is_own(connection):
            connection.close()
            return
        self._listening = True  # before the hello message, so that no event between them is lost
        viewer = Viewer(connection, self._hello())
        if evaluating := self._evaluating:  # the next event of this kind may be far off
            viewer.put(Batch([evaluating]))
        self._viewers.append(viewer)
        self._spawn(self._show(viewer))

    async def _show(self, viewer: Viewer) -> None:
        try:
            await viewer.serve(self._session.trainer.submit)
        finally:
            self._viewers.remove(viewer)
            self._listening = bool(self._viewers)

    def _broadcast(self) -> None:
        if events := [self._news.popleft() for _ in range(len(self._news))]:
            batch = Batch(events)
            for viewer in self._viewers:
                viewer.put(batch)


def _without_stale(events: Sequence[Event]) -> list[Event]:
    """Drop progress events and superseded events.

    If more than `MAX_VIEWER_EVENTS` events remain, also drop the oldest of these.
    """
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
    return kept[:MAX_VIEWER_EVENTS][::-1]


def _lines(events: Sequence[Event]) -> Iterator[bytes]:
    for kind, group in groupby(events, type):
        if kind is Progress:
            yield Report(progress=tuple(event for event in group if isinstance(event, Progress))).line()
            continue
        for event in list(group)[-1:] if kind is Evaluating else group:
            try:
                line = report(event).line()
            except (ValidationError, PydanticSerializationError):  # text that cannot be encoded as UTF-8
                log.exception("%s could not be encoded for viewers", kind.__name__)
                continue
            if len(line) <= MAX_REPORT_BYTES:
                yield line
            elif isinstance(event, Evaluated):
                yield report(replace(event, views=())).line()
