"""A run that trains in another process, followed from here."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress

from metatui.events import Command, Event, Failed, Finished, Warned
from metatui.runs.execution.control.exit_status import ending
from metatui.runs.execution.control.line_splitter import LineSplitter
from metatui.runs.execution.control.messages import LONGEST_REPORT, Hello, order, read_hello, read_report
from metatui.runs.execution.control.sockets import connect
from metatui.runs.storage.lock import holder
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import reason

ANSWER_SECONDS = 10.0
"""Within which a run's process greets, however busy it is."""

OVER_SECONDS = 2.0
"""How long a process that has hung up may take to let its run go."""

LOOK_SECONDS = 1.0
CHUNK = 256 * 1024


class LiveRun:
    """What happens to a run from now on. Iterate it once, in one thread; `submit` and `close` from any. Where the
    iteration is left, it is closed.

    Progress comes in order and never twice; some of it is missing where this process does not keep up, and is in the
    run's metrics.jsonl. What happened before is in the run's folder.
    """

    def __init__(self, run: RunFolder, connection: socket.socket, *, patience: float | None = None) -> None:
        """`attach`, `start_detached` and `resume_detached` make them, and wait `patience` seconds to be greeted.

        Raises BadInput, OSError.
        """
        self.run = run
        self._connection = connection
        self._splitter = LineSplitter(LONGEST_REPORT)
        self._lines: deque[bytes | None] = deque()
        self._lock = threading.Lock()
        self._unsent = b""
        self._iterated = False
        self._closed = False
        connection.settimeout(patience)
        while not self._lines:
            data = connection.recv(CHUNK)
            if not data:
                raise ConnectionResetError("it hung up without a word")
            self._lines += self._splitter.feed(data)
        self.hello: Hello = read_hello(self._lines.popleft() or b"")
        """Where the run stood: its phase, meta-steps and settings."""
        self._reached = self.hello.iteration
        connection.setblocking(False)

    @property
    def run_id(self) -> str:
        return self.run.id

    @classmethod
    def attach(cls, run: RunFolder) -> LiveRun:
        """Raises BadInput where no process trains the run, or none that can be talked to from here."""
        if not run.is_live():
            raise BadInput(f"run {quote(run.id)} is not live: it is {run.status()}")
        try:
            connection = connect(run, timeout=ANSWER_SECONDS)
        except OSError as error:
            raise BadInput(_unreachable(run, reason(error))) from None
        try:
            return cls(run, connection, patience=ANSWER_SECONDS)
        except (OSError, BadInput) as error:
            connection.close()
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise BadInput(_unreachable(run, why)) from None

    def known(self, iteration: int) -> None:
        """Progress up to `iteration` is known from the run's folder: it is not given again."""
        self._reached = max(self._reached, iteration)

    def submit(self, command: Command) -> None:
        """Tell the run's trainer. Never waits; where the run is over, nothing happens."""
        with self._lock:
            self._unsent += order(command).line()
            self._send()

    def close(self) -> None:
        """Look on no longer: the iteration ends, and the run goes on. A second call does nothing."""
        with self._lock:
            self._closed = True
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
            if not self._iterated:
                self._connection.close()

    def __iter__(self) -> Generator[Event, None, None]:
        """Events as they come, until the run is over or this is closed.

        The last is Finished or Failed, also where the run's process is gone without a word. The run is let go by its
        process when the iteration ends.
        """
        with self._lock:
            if self._closed:
                return
            self._iterated = True
        last: Event | None = None
        try:
            for event in self._events():
                last = event
                yield event
            if self._closed:
                return
            still_on = not self._is_let_go()
            if not isinstance(last, Finished | Failed):
                yield ending(self.run, self.hello.pid, self._reached, still_on=still_on)
        finally:
            self._connection.close()

    def _events(self) -> Iterator[Event]:
        """What the run's process says until it hangs up."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            while True:
                while self._lines:
                    if line := self._lines.popleft():
                        yield from self._read(line)
                with self._lock:
                    self._send()
                    waiting = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
                selector.modify(self._connection, waiting)
                selector.select(LOOK_SECONDS)
                try:
                    data = self._connection.recv(CHUNK)
                except BlockingIOError:
                    continue
                except OSError:
                    return
                if not data:
                    return
                self._lines += self._splitter.feed(data)

    def _read(self, line: bytes) -> Iterator[Event]:
        report = read_report(line)
        if report is None or report.hello:
            return
        if report.refused is not None:
            yield Warned(self._reached, report.refused)
        elif report.progress is not None:
            for step in report.progress:
                if step.iteration > self._reached:
                    self._reached = step.iteration
                    yield step
        else:
            yield report.content

    def _send(self) -> None:
        with suppress(OSError):  # it takes no more for now, or is gone, which the iteration says
            sent = self._connection.send(self._unsent) if self._unsent else 0
            self._unsent = self._unsent[sent:]

    def _is_let_go(self) -> bool:
        until = time.monotonic() + OVER_SECONDS
        while self.run.is_live():
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)
        return True


def _unreachable(run: RunFolder, why: str) -> str:
    return f"run {quote(run.id)} is trained by {holder(run.lock_path)}, which cannot be reached from here: {why}"
