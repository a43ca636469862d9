"""Tests that a failed write does not change the results of a run, whether the run continues or has to be resumed."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Checkpoint, Event, Progress
from metatui.runs.execution import session as sessions
from metatui.runs.execution.session import Session
from metatui.runs.storage import metrics
from metatui.runs.storage.checkpoints import newest_checkpoint, read_checkpoint
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.utils.files import WriteRefusedError
from tests.metrics import metrics_of

TINY = change(
    Settings(),
    {
        "training.iterations": 4, "evaluation.every": 2, "evaluation.tasks": 3, "evaluation.test_tasks": 3,
        "evaluation.inner_steps": 1, "model.hidden": (4,), "algorithm.inner_steps": 1, "algorithm.meta_batch": 2,
        "compute.threads": 1, "compute.device": "cpu", "compute.engine": "batched",
    },
)  # fmt: skip

STRIDE = 1 if os.environ.get("METATUI_ALL_FAULTS") else 13
"""Only every `STRIDE`th call that changes a file is tested, with a different first call for each kind of fault. With
METATUI_ALL_FAULTS=1, all calls are tested, which takes several minutes."""

CRASHED = 86
KINDS = ("ENOSPC", "EIO", "short", "crash")
WRITES = ("write", "pwrite")


@dataclass
class Disk:
    """Fake disk that counts the system calls that change files in `root`, and makes call number `fails` fail.

    A failed sync discards unsynced data. A short write writes half of the data, and the next write reports a full disk.
    A crash writes half of the data and ends the process.
    """

    root: Path
    fails: int = -1
    kind: str = ""
    calls: list[str] = field(default_factory=list)
    _open: dict[int, Path] = field(default_factory=dict)
    _synced: dict[Path, int] = field(default_factory=dict)
    _full: bool = False

    @contextmanager
    def patched(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        real = {
            name: getattr(os, name) for name in (*WRITES, "open", "fsync", "replace", "ftruncate", "mkdir", "unlink")
        }
        with monkeypatch.context() as patch:
            for name, call in real.items():
                patch.setattr(os, name, self._wrap(name, call, real))
            yield

    def _wrap(self, name: str, call: Callable[..., Any], real: dict[str, Any]) -> Callable[..., Any]:
        def ours(where: Any, *given: Any, **more: Any) -> Any:
            path = self._open.get(where) if isinstance(where, int) else Path(os.path.abspath(where))
            if path is None or not path.is_relative_to(self.root):
                return call(where, *given, **more)
            if name != "open" or given[0] & (os.O_WRONLY | os.O_RDWR):
                self._counted(name, where, path, given, real)
            elif not given[0] & os.O_DIRECTORY and path.is_file():
                return call(where, *given, **more)
            if name in WRITES and self.kind == "short" and len(self.calls) - 1 == self.fails:
                self._full = True
                return call(where, bytes(given[0])[: len(given[0]) // 2], *given[1:])
            done = call(where, *given, **more)
            if name == "open":
                self._open[done] = path
                self._synced.setdefault(path, path.stat().st_size)
            if name == "fsync":
                self._synced[path] = path.stat().st_size
            return done

        return ours

    def _counted(self, name: str, where: Any, path: Path, given: tuple[Any, ...], real: dict[str, Any]) -> None:
        self.calls.append(f"{name} {path.name}")
        if self._full and name in WRITES:
            self._full = False
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if len(self.calls) - 1 != self.fails or (self.kind == "short" and name in WRITES):
            return
        if self.kind == "crash":
            if name in WRITES:
                real[name](where, bytes(given[0])[: len(given[0]) // 2], *given[1:])
            os._exit(CRASHED)
        if name == "fsync" and path.is_file():
            real["ftruncate"](where, self._synced[path])
        number = errno.ENOSPC if self.kind == "short" else getattr(errno, self.kind)
        raise OSError(number, os.strerror(number))


def train(session: Session) -> list[Event]:
    """Train to completion, requesting two checkpoints during training, and return the events."""
    seen = []
    for event in session:
        seen.append(event)
        if isinstance(event, Progress) and event.iteration in (1, 3):
            session.submit(Checkpoint())
    return seen


@dataclass
class Outcome:
    """Results of a run that do not depend on time."""

    metrics: list[tuple[int, float, float]]
    tensors: dict[str, torch.Tensor]
    test: tuple[float, ...]

    @classmethod
    def of(cls, run: RunFolder) -> Outcome:
        state, problems = newest_checkpoint(run.checkpoints_path)
        test = run.evaluation().test
        assert (run.status(), problems) == ("finished", [])
        assert state is not None
        assert test is not None
        return cls(metrics_of(run), state.tensors, test.loss.mean)

    def is_exactly(self, other: Outcome) -> bool:
        return (
            (self.metrics, self.test) == (other.metrics, other.test)
            and self.tensors.keys() == other.tensors.keys()
            and all(torch.equal(tensor, other.tensors[name]) for name, tensor in self.tensors.items())
        )


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "TRY_EVERY", 0.0)
    monkeypatch.setattr(metrics, "FLUSH_AFTER", 0.0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    session = Session.start(TINY, runs_dir=tmp_path_factory.mktemp("undisturbed"))
    train(session)
    return Outcome.of(session.run)


def begin(root: Path) -> Session:
    return Session.start(TINY, runs_dir=root)


def continue_run(root: Path) -> Session:
    (run,) = RunStore(root).runs()
    return Session.resume(run)


def in_a_child(work: Callable[[], object]) -> int:
    """Call `work` in a forked process, and return the exit code of the process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # no other thread holds a lock needed by the child
        child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a runs folder as it is left by a process that was killed while writing.

    The last line of the metrics is incomplete, and there are temporary files.
    """
    root = tmp_path_factory.mktemp("killed")
    session = begin(root)
    for event in session:
        if isinstance(event, Progress) and event.iteration == 2:
            session.submit(Checkpoint())
        if isinstance(event, Progress) and event.iteration == 3:
            break
    (run,) = RunStore(root).runs()
    with run.metrics_path.open("ab") as file:
        file.write(b'{"iteration":')
    (run.checkpoints_path / ".last.new.4242.tmp").write_bytes(b"half")
    (run.path / ".crash.log.4242.tmp").write_bytes(b"half")
    (run.checkpoints_path / "last.new").write_bytes(b"whole, but for the rename")
    return root


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("opened", [begin, continue_run])
def test_single_failed_write_does_not_change_results(
    opened: Callable[[Path], Session], kind: str, undisturbed: Outcome, killed: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fresh(name: str) -> Path:
        root = tmp_path / name
        if opened is continue_run:
            shutil.copytree(killed, root)
        return root

    counting = Disk(fresh("counting"))
    with counting.patched(monkeypatch):
        train(opened(counting.root))
    assert len(counting.calls) > 30
    first = (3 * KINDS.index(kind) + (opened is continue_run)) % STRIDE
    for number in range(first, len(counting.calls), STRIDE):
        disk = Disk(fresh(f"{number}"), number, kind)
        what = f"{kind} at {number}, {counting.calls[number]}"
        if kind == "crash":
            with disk.patched(monkeypatch):
                assert in_a_child(lambda disk=disk: train(opened(disk.root))) == CRASHED, what  # type: ignore[misc]
        else:
            with disk.patched(monkeypatch):
                disturbed(disk, opened, what)
        check(disk.root, undisturbed, what)
        shutil.rmtree(disk.root)


def disturbed(disk: Disk, opened: Callable[[Path], Session], what: str) -> None:
    """Train to completion despite a fault. Opening the session may fail, but training may not."""
    try:
        session = opened(disk.root)
    except WriteRefusedError:
        return
    train(session)
    assert session.run.status() == "finished", what


def check(root: Path, undisturbed: Outcome, what: str) -> None:
    """Check that all files are valid, and that the run has the results of an undisturbed run.

    A run that is not finished is resumed first. If there is no run, a new one is started.
    """
    runs = RunStore(root).runs()
    for run in runs:
        assert not run.is_live(), what
        found = metrics_of(run)
        assert found == undisturbed.metrics[: len(found)], what
        run.evaluation()
        run.views()
    if runs and runs[0].status() != "finished":
        train(Session.resume(runs[0]))
    elif not runs:
        train(begin(root))
    (run,) = RunStore(root).runs()
    assert Outcome.of(run).is_exactly(undisturbed), what
    left = {path.name for path in run.path.rglob("*") if path.name.endswith((".tmp", ".new"))}
    assert not left, what
    for path in run.checkpoints_path.iterdir():
        read_checkpoint(path)
    events = [entry.event for entry in run.journal()]
    assert events.count("finished") == 1, what
