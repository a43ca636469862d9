"""Runs fuzz cases in child processes. If a child crashes or hangs, that is the result of its current case."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fuzz import samples

PATIENCE = 240
"""Number of half-second polls without output after which a child process counts as hanging. Polls are counted instead
of seconds, so that time during which the machine is suspended does not count."""

Result = dict[str, Any]

ROOT = Path(__file__).parents[2]


def prepare(folder: Path) -> None:
    """Create the sample files that all cases use, in `folder`."""
    code = "import sys; from pathlib import Path; from tests.fuzz.samples import make; make(Path(sys.argv[1]))"
    home = folder / "samples"
    subprocess.run([sys.executable, "-c", code, str(home)], check=True, cwd=ROOT, env=_environment(home))


def results(folder: Path, seed: int, cases: range, only: str | None = None) -> Iterator[Result]:
    """Run `cases` in child processes, and yield the result of each case.

    The results are those of `Cases.run`. If a child process crashes or hangs, the outcome of its current case is
    `crash` or `silence`.
    """
    first = cases.start
    while first < cases.stop:
        last = first
        for result in _child(folder, seed, range(first, cases.stop), only):
            yield result
            last = int(result["case"])
        first = last + 1


def _child(folder: Path, seed: int, cases: range, only: str | None) -> Iterator[Result]:
    arguments = [str(folder), str(seed), str(cases.start), str(cases.stop), *([only] if only else [])]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz.child", *arguments],
        cwd=ROOT, env=_environment(folder / "home"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        start_new_session=True,  # without a controlling terminal
    ) as child:  # fmt: skip
        assert child.stdout is not None
        begun, silent, rest = cases.start, 0, b""
        try:
            while True:
                ready, _, _ = select.select([child.stdout], [], [], 0.5)
                if not ready:
                    silent += 1
                    if silent > PATIENCE:
                        yield {"case": begun, "target": only or "", "outcome": "silence", "detail": "", "how": ""}
                        return
                    continue
                silent = 0
                data = os.read(child.stdout.fileno(), 65536)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    message = json.loads(line)
                    if "begin" in message:
                        begun = message["begin"]
                    else:
                        yield message
                        begun += 1
                if not data:
                    code = child.wait()
                    if code or begun < cases.stop:
                        log = (folder / "child.log").read_text(errors="replace")[-2000:]
                        yield {"case": begun, "target": only or "", "outcome": "crash", "how": "",
                               "detail": f"the child exited with {code}: {log}"}  # fmt: skip
                    return
        finally:
            child.kill()


def _environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "VIRTUAL_ENV") if name in os.environ}
    # Few malloc arenas, because each thread's arena would reserve address space.
    limits = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "PYTHONUTF8": "1"}
    return {**kept, **samples.environment(home), **limits}
