"""Running a suite: each run in a process of its own, one after the other on a device, all devices side by side.

A process of its own, because then a run's peak memory is its own, and what crashes it leaves the others alone.
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
    """What happened to a run of the suite."""

    planned: PlannedRun


@dataclass(frozen=True)
class RunPacked(SuiteEvent):
    """Some of the run's images are packed; it trains when all are."""

    done: int
    total: int


@dataclass(frozen=True)
class RunStarted(SuiteEvent):
    iteration: int
    """Meta-steps done before, where it goes on."""
    device: str
    engine: str


@dataclass(frozen=True)
class RunProgress(SuiteEvent):
    iteration: int
    meta_loss: float | None
    accuracy: float | None
    tasks_seen: int
    seconds: float
    """Spent training, without validations and checkpoints."""


@dataclass(frozen=True)
class RunWarned(SuiteEvent):
    text: str


@dataclass(frozen=True)
class RunEnded(SuiteEvent):
    status: str
    """As in the run's journal; `failed` also where there is none."""
    sentence: str | None
    """Why it failed."""


Say = Callable[[SuiteEvent | Exception | None], object]
"""Takes what a thread has to say, in the end None."""


class Conductor:
    """Runs what `ledger` says is not finished. Iterate it once, in one thread."""

    def __init__(
        self, ledger: SuiteManifest, waiting: Sequence[tuple[PlannedRun, RunFolder | None]], *, runs_dir: Path,
        devices: Sequence[str | None] = (None,),
    ) -> None:  # fmt: skip
        """
        Args:
            ledger: held by the caller.
            waiting: runs to make, each with the folder that it goes on in, or None.
            devices: one run at a time on each; None is the device that the run's settings say.
        """
        self._ledger = ledger
        self._waiting = deque(waiting)
        self._runs_dir = runs_dir
        self._devices = devices
        self._lock = Lock()
        self._over = False
        self._interrupted = False
        self._children: set[ChildProcess] = set()

    @property
    def interrupted(self) -> bool:
        return self._interrupted

    def interrupt(self) -> None:
        """Let each run finish its meta-step and save, and start no more. For signal handlers and other threads."""
        self._interrupted = self._over = True
        for child in list(self._children):
            child.end_sending()

    def __iter__(self) -> Generator[SuiteEvent, None, None]:
        """Every event of every run. Where the iteration is left, or raises, the processes are ended at once.

        Raises:
            MetatuiError: what was started cannot be written down.
        """
        said: SimpleQueue[SuiteEvent | Exception | None] = SimpleQueue()
        threads = [Thread(target=self._on, args=(device, said.put), daemon=True) for device in self._devices]
        for thread in threads:
            thread.start()
        running = len(threads)
        try:
            while running:
                match said.get():
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

    def _on(self, device: str | None, say: Say) -> None:
        """Run after run on `device`, in a thread of its own."""
        try:
            with self._ledger.messages_path.open("ab") as messages:
                while not self._over and (run := self._next()):
                    self._run(*run, device, messages, say)
        except OSError as error:
            say(MetatuiError(f"a run's process cannot be started: {error}"))
        except Exception as error:
            say(error)
        finally:
            say(None)

    def _next(self) -> tuple[PlannedRun, RunFolder | None] | None:
        with suppress(IndexError):
            return self._waiting.popleft()
        return None

    def _run(
        self, planned: PlannedRun, folder: RunFolder | None, device: str | None, messages: BinaryIO, say: Say
    ) -> None:
        child = ChildProcess("metatui.runs.suites.worker", output=messages)
        self._children.add(child)
        ended = False
        try:
            with suppress(OSError):  # it died already, or was asked to end before it began
                child.send(self._request(planned, folder, device))
            if self._over:  # since before it was among the children
                child.end_sending()
            while message := child.receive():
                ended = self._told(planned, message, say) or ended
        finally:
            child.close()
            code = child.wait()
            self._children.discard(child)
        if not ended:
            self._ended(planned, *self._death(code or 0), say)

    def _request(self, planned: PlannedRun, folder: RunFolder | None, device: str | None) -> dict[str, Any]:
        given = {} if device is None else {"compute.device": device}
        settings = planned.settings.model_dump(mode="json")
        settings["compute"] |= {"device": device} if device is not None else {}
        return {
            "resume": str(folder.path) if folder else None,
            "changes": given,
            "settings": settings,
            "runs_dir": str(self._runs_dir),
            "origin": planned.origin,
            "side_by_side": len(self._devices),
        }

    def _told(self, planned: PlannedRun, message: dict[str, Any], say: Say) -> bool:
        """Passes a message of a process on; whether it was the last."""
        what = message.pop("what")
        match what:
            case "created":
                with self._lock:
                    self._ledger.add(RunFolder(Path(message["run"])))
            case "packed":
                say(RunPacked(planned, **message))
            case "started":
                say(RunStarted(planned, **message))
            case "progress":
                say(RunProgress(planned, **message))
            case "warned":
                say(RunWarned(planned, sanitize(message["text"])))
            case "ended":
                self._ended(planned, message["status"], message["sentence"], say)
        return bool(what == "ended")

    def _ended(self, planned: PlannedRun, status: str, sentence: str | None, say: Say) -> None:
        if status == "failed":
            with self._lock:
                self._ledger.failed(planned, sentence or "no reason was given")
        say(RunEnded(planned, status, sentence))

    def _death(self, code: int) -> tuple[str, str | None]:
        """Return status and reason of a run whose process ended with `code` without reporting its end."""
        if self._over and code in (0, -9):
            return "interrupted", None
        output = quote(str(self._ledger.messages_path), 200)
        return "failed", f"its process {describe_exit(code)} without reporting an error: see its output in {output}"
