"""Scheduler of a suite: trains one run after another on each device, every run in its own process.

With separate processes, peak memory is measured for each run, and a crash does not affect other runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, BinaryIO

from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.suites.manifest import SuiteManifest
from metatui.runs.suites.models import PlannedRun
from metatui.utils.child_process import ChildProcess, describe_exit
from metatui.utils.errors import MetatuiError, quote
from metatui.utils.text import sanitize


@dataclass(frozen=True)
class SuiteEvent:
    """An event of one run of the suite."""

    planned: PlannedRun


@dataclass(frozen=True)
class RunPacked(SuiteEvent):
    """Progress of packing the run's images before its training starts."""

    done: int
    total: int


@dataclass(frozen=True)
class RunStarted(SuiteEvent):
    iteration: int
    """Meta-step at which the run starts or continues."""
    device: str
    engine: str


@dataclass(frozen=True)
class RunProgress(SuiteEvent):
    iteration: int
    meta_loss: float | None
    accuracy: float | None
    tasks_seen: int
    seconds: float
    """Training time in seconds, excluding validations and checkpoints."""


@dataclass(frozen=True)
class RunWarned(SuiteEvent):
    text: str


@dataclass(frozen=True)
class RunEnded(SuiteEvent):
    status: str
    """Final status of the run according to its journal; `failed` if the journal has no status."""
    sentence: str | None
    """Reason for the failure; None if the run did not fail."""


Emit = Callable[[SuiteEvent | Exception | None], object]
"""Callback that receives an event or an exception from a thread, or None when the thread ends."""


class SuiteRunner:
    """Iterable that trains the runs of a suite and yields their events. It can be iterated over only once."""

    def __init__(
        self,
        manifest: SuiteManifest,
        waiting: Sequence[tuple[PlannedRun, RunFolder | None]],
        *,
        devices: Sequence[str | None] = (None,),
    ) -> None:
        """Initialise the runner.

        Args:
            manifest: manifest of the suite; the caller must have locked it.
            waiting: runs to train, each with its folder, or with None if the run has not been started yet.
            devices: devices to train on, one run at a time on each; None means the device in the run's settings.
        """
        self._manifest = manifest
        self._waiting = deque(waiting)
        self._devices = devices
        self._lock = Lock()
        self._over = False
        self.interrupted = False
        self._children: set[ChildProcess] = set()

    def interrupt(self) -> None:
        """Interrupt and save the current runs, and do not start further runs.

        Signal handlers and other threads may call this method.
        """
        self.interrupted = self._over = True
        for child in list(self._children):
            child.end_sending()

    def __iter__(self) -> Generator[SuiteEvent, None, None]:
        """Yield the events of all runs. If the iteration ends early, the processes of the runs are killed.

        Raises:
            MetatuiError: if a run cannot be recorded in the manifest.
        """
        queue: SimpleQueue[SuiteEvent | Exception | None] = SimpleQueue()
        threads = [Thread(target=self._work, args=(device, queue.put), daemon=True) for device in self._devices]
        for thread in threads:
            thread.start()
        running = len(threads)
        try:
            while running:
                match queue.get():
                    case None:
                        running -= 1
                    case Exception() as error:
                        raise error
                    case event:
                        yield event
        finally:
            self._over = True
            for child in list(self._children):
                child.kill()
            for thread in threads:
                thread.join()

    def _work(self, device: str | None, emit: Emit) -> None:
        """Train waiting runs on `device`, one at a time, until none is left. This runs in a thread."""
        try:
            with self._manifest.messages_path.open("ab") as messages:
                while not self._over and (run := self._next()):
                    self._run(*run, device, messages, emit)
        except OSError as error:
            emit(MetatuiError(f"a run's process cannot be started: {error}"))
        except Exception as error:
            emit(error)
        finally:
            emit(None)

    def _next(self) -> tuple[PlannedRun, RunFolder | None] | None:
        with suppress(IndexError):
            return self._waiting.popleft()
        return None

    def _run(
        self, planned: PlannedRun, folder: RunFolder | None, device: str | None, messages: BinaryIO, emit: Emit
    ) -> None:
        child = ChildProcess("metatui.runs.suites.worker", title=f"metatui suite {planned.name}", output=messages)
        self._children.add(child)
        ended = False
        try:
            with suppress(OSError):  # the process died, or was interrupted before it started
                child.send(self._request(planned, folder, device))
            if self._over:  # interrupted before the child was registered
                child.end_sending()
            while message := child.receive():
                ended = self._handle(planned, message, emit) or ended
        finally:
            child.close()
            code = child.wait()
            self._children.discard(child)
        if not ended:
            self._ended(planned, *self._death(code or 0), emit)

    def _request(self, planned: PlannedRun, folder: RunFolder | None, device: str | None) -> dict[str, Any]:
        changes = {} if device is None else {"compute.device": device}
        settings = planned.settings.model_dump(mode="json")
        settings["compute"] |= {"device": device} if device is not None else {}
        return {
            "resume": str(folder.path) if folder else None,
            "changes": changes,
            "settings": settings,
            "runs_dir": str(self._manifest.store.root),
            "origin": planned.origin,
            "side_by_side": len(self._devices),
        }

    def _handle(self, planned: PlannedRun, message: dict[str, Any], emit: Emit) -> bool:
        """Handle a message from a run's process; return whether it was the last message."""
        what = message.pop("what")
        match what:
            case "created":
                with self._lock:
                    self._manifest.add(RunFolder(Path(message["run"])))
            case "packed":
                emit(RunPacked(planned, **message))
            case "started":
                emit(RunStarted(planned, **message))
            case "progress":
                emit(RunProgress(planned, **message))
            case "warned":
                emit(RunWarned(planned, sanitize(message["text"])))
            case "ended":
                self._ended(planned, message["status"], message["sentence"], emit)
        return bool(what == "ended")

    def _ended(self, planned: PlannedRun, status: str, sentence: str | None, emit: Emit) -> None:
        if status == "failed":
            with self._lock:
                self._manifest.failed(planned, sentence or "no reason was given")
        emit(RunEnded(planned, status, sentence))

    def _death(self, code: int) -> tuple[str, str | None]:
        """Return the status of a run whose process exited early with `code`, and the reason if the run failed."""
        if self._over and code in (0, -9):
            return "interrupted", None
        output = quote(str(self._manifest.messages_path), 200)
        return "failed", f"its process {describe_exit(code)} without reporting an error; its output is in {output}"
