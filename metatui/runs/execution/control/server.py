"""The side of the run: a thread beside the training that shows it to viewers and takes their commands.

The training thread only leaves events behind, and those only while somebody looks on: what costs time is done here, and
at a pace of its own.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Protocol

from metatui.config.settings import Settings
from metatui.events import Command, Evaluating, Event, Progress
from metatui.runs.execution.control.connection import Batch, Viewer
from metatui.runs.execution.control.messages import PROTOCOL, Hello, Phase
from metatui.runs.execution.control.sockets import is_own, listen, socket_path
from metatui.runs.execution.run_state import Outcome
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import quote
from metatui.utils.files import reason
from metatui.utils.text import sanitize

log = logging.getLogger(__name__)

EVERY_SECONDS = 0.25
"""Between two messages of what happens at every meta-step."""

MOST_NEWS = 8192
"""Events that wait for this module's thread, after which meta-steps are no longer left for it."""

MOST_VIEWERS = 16

LINGER_SECONDS = 0.5
"""How long the end of a run waits for viewers to read it."""


class Controlled(Protocol):
    """What is shown and told: a session."""

    @property
    def run(self) -> RunFolder: ...

    @property
    def outcome(self) -> Outcome: ...

    @property
    def settings(self) -> Settings: ...

    def submit(self, command: Command) -> None: ...


class ControlServer:
    """`open` and `close` it, and `tell` it every event, in the training thread. The caller holds the run's lock."""

    def __init__(self, session: Controlled) -> None:
        self._session = session
        self._news: deque[Event] = deque()
        self._viewers: list[Viewer] = []
        self._listener: socket.socket | None = None
        self._listening = False
        self._resting = True
        """Whether the thread will not look for news before it is woken."""
        self._urgent = False
        self._evaluating = False
        self._closing = False
        self._bell: socket.socket | None = None
        self._woken: socket.socket | None = None
        """The bell's other end, where the thread hears it."""
        self._thread: threading.Thread | None = None

    def adopt(self, connection: socket.socket) -> None:
        """Take a viewer on before the run is open to others: it misses nothing."""
        self._viewers.append(Viewer(connection, self._hello()))
        self._listening = True

    def open(self) -> str | None:
        """Let viewers in. Returns a sentence where that is impossible: the run goes on without them."""
        problem = None
        try:
            self._listener = listen(self._session.run)
        except OSError as error:
            where = quote(str(socket_path(self._session.run)), 200)
            problem = f"No other process can show or stop this run: {where} cannot be made: {reason(error)}"
        try:
            if self._listener or self._viewers:
                self._start()
        except (OSError, RuntimeError) as error:  # no more files or threads: no reason not to train
            problem = f"No other process can show or stop this run: {error}"
            self._shut()
        return problem

    def tell(self, event: Event) -> None:
        """Pass `event` on to whoever looks on. Never waits, and costs next to nothing where nobody does."""
        if isinstance(event, Progress):
            routine = True
        else:
            routine = self._evaluating = isinstance(event, Evaluating)
        if not self._listening or (routine and len(self._news) >= MOST_NEWS):
            return
        self._news.append(event)
        if self._resting or not routine:
            self._resting = False
            self._urgent = self._urgent or not routine
            self._wake()

    def close(self) -> None:
        """Tell viewers what is left to tell, and let them go. A second call does nothing."""
        if self._closing:
            return
        self._closing = True
        if self._listener:
            with suppress(OSError):
                socket_path(self._session.run).unlink()
        if self._thread and self._thread.is_alive():
            self._wake()
            self._thread.join(2 * LINGER_SECONDS)
        else:
            self._shut()
        if self._bell:
            self._bell.close()

    def _start(self) -> None:
        self._bell, self._woken = socket.socketpair()
        self._bell.setblocking(False)
        self._woken.setblocking(False)
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def _shut(self) -> None:
        self._listening = False
        for source in (*self._viewers, self._listener, self._woken):
            if source:
                source.close()

    def _wake(self) -> None:
        if self._bell:
            with suppress(OSError):  # what is full wakes too, and where nobody hears it nobody needs to
                self._bell.send(b".")

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

    def _serve(self) -> None:
        # Signals are for the training thread.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            with selectors.DefaultSelector() as selector:
                self._go_round(selector)
        except Exception:
            log.exception("the run goes on, but nobody is shown it any more")
        finally:
            self._shut()

    def _go_round(self, selector: selectors.BaseSelector) -> None:
        for source in (self._woken, self._listener, *self._viewers):
            if source:
                selector.register(source, selectors.EVENT_READ)
        due = 0.0
        while not self._closing:
            self._resting = True
            if self._news:  # else they wake us
                self._resting = False
            for key, _ in selector.select(max(0.0, due - time.monotonic()) if self._news else None):
                self._look_at(key.fileobj, selector)
            if self._urgent or time.monotonic() >= due:
                self._urgent = False
                self._spread()
                due = time.monotonic() + EVERY_SECONDS
            self._send(selector)
        self._spread()
        self._send(selector)
        until = time.monotonic() + LINGER_SECONDS
        while any(viewer.pending for viewer in self._viewers) and time.monotonic() < until:
            time.sleep(LINGER_SECONDS / 50)
            self._send(selector)

    def _look_at(self, source: object, selector: selectors.BaseSelector) -> None:
        if isinstance(source, Viewer):
            try:
                for command in source.receive():
                    self._session.submit(command)
            except OSError:
                self._let_go(source, selector)
        elif source is self._listener:
            self._let_in(selector)
        elif isinstance(source, socket.socket):
            with suppress(BlockingIOError):
                source.recv(4096)

    def _let_in(self, selector: selectors.BaseSelector) -> None:
        assert self._listener
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it has gone, or too many files are open
            time.sleep(EVERY_SECONDS)
            return
        if len(self._viewers) >= MOST_VIEWERS or not is_own(connection):
            connection.close()
            return
        self._listening = True  # first, so that whatever the greeting does not have follows it
        viewer = Viewer(connection, self._hello())
        self._viewers.append(viewer)
        selector.register(viewer, selectors.EVENT_READ)

    def _let_go(self, viewer: Viewer, selector: selectors.BaseSelector) -> None:
        selector.unregister(viewer)
        viewer.close()
        self._viewers.remove(viewer)
        self._listening = bool(self._viewers)

    def _spread(self) -> None:
        if events := [self._news.popleft() for _ in range(len(self._news))]:
            batch = Batch(events)
            for viewer in self._viewers:
                viewer.put(batch)

    def _send(self, selector: selectors.BaseSelector) -> None:
        for viewer in self._viewers:
            viewer.send()
            interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if viewer.pending else 0)
            if selector.get_key(viewer).events != interest:
                selector.modify(viewer, interest)
