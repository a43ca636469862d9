"""Client of a run that is being trained in another process."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, suppress

from metatui.events import Command, Died, Evaluating, Event, Failed, Finished, Stop, Warned
from metatui.runs.execution.control.messages import (
    MAX_REPORT_BYTES,
    Hello,
    Phase,
    command_line,
    read_hello,
    read_report,
)
from metatui.runs.execution.control.sockets import connect
from metatui.runs.storage.journal import Entry
from metatui.runs.storage.lock import ends_on_sigterm, holder, other_process
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.summary import RunSummary
from metatui.utils.child_process import Channel
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import reason
from metatui.utils.text import sanitize

ANSWER_SECONDS = 10.0
"""Maximum number of seconds that a busy process may take to send its hello message."""

OVER_SECONDS = 2.0
"""Maximum number of seconds that a process may take to release the run after closing its socket."""

QUERY_SECONDS = 0.5
"""Maximum number of seconds that `query_activity` waits for each message from a process."""


class NotListeningError(BadInput):
    """Raised if the process of a run accepts no connections, because it has not begun training or has no socket."""


def stop_run(run: RunFolder) -> LiveRun | None:
    """Tell the process that trains a run to finish the current meta-step, save the run and stop.

    Returns:
        The connection to the run; None if its process does not listen. In this case, SIGTERM was sent to the process:
        it exits, and saves the run first if training has begun.

    Raises:
        BadInput: if no process trains the run, or if the process cannot be reached. A process that runs other code,
            too, such as a notebook, cannot be reached before training begins.
    """
    try:
        live = LiveRun.attach(run)
    except NotListeningError as error:
        pid = other_process(run.lock_path)
        if pid is None:
            raise
        if not ends_on_sigterm(run.lock_path):
            raise BadInput(
                f"run {quote(run.id)} is being trained by process {pid}, which also runs other code, such as a "
                "notebook, and accepts no connections yet: try again when training has begun, or interrupt the run in "
                "that process"
            ) from None
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:  # it has just ended
            pass
        except PermissionError:
            raise error from None
        return None
    live.submit(Stop())
    return live


def wait_until_ended(run: RunFolder, seconds: float) -> bool:
    """Wait at most `seconds` for the process of a run to release its lock; return whether the lock was released."""
    until = time.monotonic() + seconds
    while run.is_live():
        if time.monotonic() >= until:
            return False
        time.sleep(0.02)
    return True


def query_activity(run: RunFolder) -> tuple[Phase | None, Evaluating | None]:
    """Return the phase of a live run and the progress of its current validation or test.

    Each is None if there is none, or if the process does not answer. Unlike `LiveRun.attach`, this function does not
    wait long for a busy process.
    """
    phase: Phase | None = None
    with suppress(OSError, BadInput), closing(Channel(connect(run, timeout=QUERY_SECONDS))) as channel:
        phase = read_hello(channel.file.readline(MAX_REPORT_BYTES)).phase
        if phase == "evaluating":
            report = read_report(channel.file.readline(MAX_REPORT_BYTES))
            return phase, report.evaluating if report else None
    return phase, None


def activity_of(run: RunSummary) -> str:
    """Return the activity of a run, with the progress of its validation or test: `testing 120 of 600 tasks`.

    The number of tasks is left out if the process of the run does not answer. If the process reports a pause that the
    journal does not contain, the result is `waiting until its data can be written`. This function may take a second.
    """
    if run.status != "running":
        return run.activity
    phase, now = query_activity(run.run)
    if phase == "paused":
        return "waiting until its data can be written"
    if not run.activity or now is None:
        return run.activity
    return f"{'testing' if now.split == 'test' else 'validating'} {now.done:,} of {now.tasks:,} tasks"


class LiveRun:
    """Connection to a run that is training in another process. Iterate over it to receive the events of the run.

    Iterate only once, in one thread; `submit` and `close` are thread-safe. The connection is closed when the iteration
    ends. Progress arrives in order and without repetition. If this process does not keep up, some progress is omitted
    and can be read from the run's metrics.jsonl. Earlier events are in the run folder.
    """

    def __init__(self, run: RunFolder, channel: Channel) -> None:
        """Read the hello message from `channel`.

        `attach`, `start_detached` and `resume_detached` call this method.

        Raises:
            BadInput: if the other process is not a run, or uses another protocol.
            OSError: if the connection is lost.
        """
        self.run = run
        self._channel = channel
        self._lock = threading.Lock()
        self._unsent = b""
        self._iterated = False
        self._closed = False
        line = channel.file.readline(MAX_REPORT_BYTES)
        if len(line) < MAX_REPORT_BYTES and not line.endswith(b"\n"):
            raise ConnectionResetError("it closed the connection before its first message")
        self.hello: Hello = read_hello(line)
        """State of the run at the time of connection: phase, meta-steps and settings."""
        self._reached = self.hello.iteration
        channel.socket.settimeout(None)

    @classmethod
    def attach(cls, run: RunFolder) -> LiveRun:
        """Connect to a run that is training in another process.

        Raises:
            NotListeningError: if no process listens on the socket of the run.
            BadInput: if the run is not live (no process trains it), or its process cannot be reached.
        """
        if not run.is_live():
            raise run.not_live_error()
        channel = None
        try:
            channel = Channel(connect(run, timeout=ANSWER_SECONDS))
            return cls(run, channel)
        except (OSError, BadInput) as error:
            if channel:
                channel.close()
            why = reason(error) if isinstance(error, OSError) else str(error)
            trainer = holder(run.lock_path)
            absent = isinstance(error, FileNotFoundError | ConnectionRefusedError)
            raise (NotListeningError if absent else BadInput)(
                f"run {quote(run.id)} is being trained by {trainer}, which cannot be reached from here: {why}"
            ) from None

    def known(self, iteration: int) -> None:
        """Skip progress up to `iteration`, because it has already been read from the run folder."""
        self._reached = max(self._reached, iteration)

    def submit(self, command: Command) -> None:
        """Send a command to the trainer without blocking; do nothing if the run has ended."""
        with self._lock:
            self._unsent += command_line(command)
            self._send()

    def close(self) -> None:
        """Close the connection. The iteration ends, but the run continues. A second call does nothing."""
        with self._lock:
            self._closed = True
            with suppress(OSError):
                self._channel.socket.shutdown(socket.SHUT_RDWR)
            if not self._iterated:
                self._channel.close()

    def __iter__(self) -> Generator[Event, None, None]:
        """Yield events until the run ends or `close` is called.

        The last event is Finished or Failed, even if the run's process was killed. When this event is yielded, the
        process has released the run.
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
            is_live = not wait_until_ended(self.run, OVER_SECONDS)
            if not isinstance(last, Finished | Failed):
                yield self._ending(is_live)
        finally:
            with self._lock:
                self._closed = True
            self._channel.close()

    def _events(self) -> Iterator[Event]:
        """Yield events from the run's process until it closes the connection."""
        skipping = False
        with suppress(OSError):
            while line := self._channel.file.readline(MAX_REPORT_BYTES):
                with self._lock:
                    self._send()
                whole = line.endswith(b"\n")
                if whole and not skipping:
                    yield from self._read(line)
                skipping = not whole

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
        """Send as many queued bytes as the connection accepts; the next call sends the rest."""
        with suppress(OSError):  # the buffer is full, or the connection is lost, which ends the iteration
            if self._unsent:
                sent = self._channel.socket.send(self._unsent, socket.MSG_DONTWAIT)
                self._unsent = self._unsent[sent:]

    def _ending(self, is_live: bool) -> Finished | Failed:
        """Read the last event of the run from its folder, after the connection is lost."""
        run, pid = self.run, self.hello.pid
        if is_live:
            return Failed(
                self._reached, f"Process {pid} is still training run {run.id}, but closed the connection: attach again"
            )
        status = run.status()
        last = next((entry for entry in reversed(run.journal()) if entry.event == status), None)
        if last is None or status not in ("finished", "stopped", "failed"):
            return Died(self._reached, f"Process {pid} ended unexpectedly during run {run.id}")
        if status == "failed":
            return Failed(last.iteration, sanitize(str(last.details.get("sentence")), limit=2000))
        return _finished(run, last)


def _finished(run: RunFolder, last: Entry) -> Finished:
    """Reconstruct the Finished event from the last journal entry and the result files."""
    seconds, why, warning = (last.details.get(name) for name in ("seconds", "reason", "warning"))
    try:
        record = run.evaluation().holding(last.iteration, finished=last.event == "finished")
        test, views = record.test, run.views()
    except BadInput:
        test, views = None, ()
    return Finished(
        iteration=last.iteration,
        reason=sanitize(why) if isinstance(why, str) else last.event,
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
        test=test,
        views=views if test else (),
        warning=sanitize(warning, limit=400) if isinstance(warning, str) else None,
    )
