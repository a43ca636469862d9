"""Functions that check the state of runs, terminals and processes in end-to-end tests."""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from tests.metrics import read_all
from tests.terminal.program import Program
from tests.terminal.screen import ALTERNATE_SCREEN, BRACKETED_PASTE, CURSOR, FOCUS_EVENTS, MOUSE
from tests.terminal.terminal import PATIENCE

SMALL, LARGE = (80, 24), (160, 48)


def runs(folder: Path) -> list[RunFolder]:
    """Return all runs in `folder`, oldest first."""
    return sorted(RunStore(folder).runs(), key=lambda run: run.journal()[0].time)


def iterations_of(run: RunFolder, event: str) -> list[int]:
    """Return the meta-step of each journal entry for `event`."""
    return [entry.iteration for entry in run.journal() if entry.event == event]


def assert_usable(program: Program) -> None:
    """Check that the program has restored the modes and line settings of the terminal, and shows no traceback."""
    modes = program.emulator.modes
    assert ALTERNATE_SCREEN in modes  # otherwise there was nothing to restore
    on = {mode for mode in (ALTERNATE_SCREEN, BRACKETED_PASTE, FOCUS_EVENTS, *MOUSE) if modes[mode]}
    assert not on
    assert modes[CURSOR]
    assert program.line_settings() == program.line_before
    assert "Traceback" not in program.text


def assert_nothing_lost(run: RunFolder) -> None:
    """Check that the metrics and the last checkpoint are complete.

    Both must reach the meta-step of the last journal entry, and the metrics must contain every meta-step before it.
    """
    reached = run.journal()[-1].iteration
    assert reached > 0
    assert [progress.iteration for progress in read_all(run.metrics())] == list(range(1, reached + 1))
    assert checkpoint_iteration(run.checkpoints_path / "last.safetensors") == reached


def checkpoint_iteration(checkpoint: Path) -> int:
    """Return the meta-step at which a checkpoint was saved, without importing PyTorch."""
    data = checkpoint.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    values = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["values"])
    return int(values["iteration"])


def trainer_pid(run: RunFolder) -> int:
    """Return the id of the process that is training a live run."""
    assert run.is_live()
    return int(json.loads(run.lock_path.read_bytes())["pid"])


def wait_for(holds: Callable[[], object]) -> None:
    """Wait until another process makes `holds()` true. Raises AssertionError after `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "the condition never became true"
        time.sleep(0.05)


def processes_of(runs_dir: Path) -> set[int]:
    """Return the ids of the processes whose environment variable METATUI_RUNS is `runs_dir`. Requires /proc."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"METATUI_RUNS={runs_dir}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, in seconds, that a process has used. Requires /proc."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def bytes_written(pid: int) -> int:
    """Return the number of bytes that a process has written, to its terminal and to files. Requires /proc."""
    return int(Path(f"/proc/{pid}/io").read_text().partition("wchar: ")[2].split()[0])
