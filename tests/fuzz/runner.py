"""Runs cases in children and gathers what became of them; a child that dies or falls silent is a finding of its own."""

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
"""Looks at a silent child, half a second each, before it counts as hanging. Looks and not seconds, so that a machine
that stands still does not count."""

Result = dict[str, Any]

ROOT = Path(__file__).parents[2]


def prepare(folder: Path) -> None:
    """Fill `folder` with what cases start from."""
    made = "import sys; from pathlib import Path; from tests.fuzz.samples import make; make(Path(sys.argv[1]))"
    home = folder / "samples"
    subprocess.run([sys.executable, "-c", made, str(home)], check=True, cwd=ROOT, env=_environment(home))


def results(folder: Path, seed: int, cases: range, only: str | None = None) -> Iterator[Result]:
    """What became of each of `cases`, as `Cases.run` says it, or `crash` or `silence` of the child."""
    first = cases.start
    while first < cases.stop:
        last = first
        for result in _child(folder, seed, range(first, cases.stop), only):
            yield result
            last = int(result["case"])
        first = last + 1


def _child(folder: Path, seed: int, cases: range, only: str | None) -> Iterator[Result]:
    words = [str(folder), str(seed), str(cases.start), str(cases.stop), *([only] if only else [])]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz.child", *words],
        cwd=ROOT, env=_environment(folder / "home"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        start_new_session=True,  # without a terminal that it could open
    ) as child:  # fmt: skip
        assert child.stdout is not None
        begun, silent, waiting = cases.start, 0, b""
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
                *lines, waiting = (waiting + data).split(b"\n")
                for line in lines:
                    said = json.loads(line)
                    if "begin" in said:
                        begun = said["begin"]
                    else:
                        yield said
                        begun += 1
                if not data:
                    code = child.wait()
                    if code or begun < cases.stop:
                        log = (folder / "child.log").read_text(errors="replace")[-2000:]
                        yield {"case": begun, "target": only or "", "outcome": "crash", "how": "",
                               "detail": f"the child ended with {code}: {log}"}  # fmt: skip
                    return
        finally:
            child.kill()


def _environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "VIRTUAL_ENV") if name in os.environ}
    # One arena: threads would reserve address space by the gigabyte.
    quiet = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "PYTHONUTF8": "1"}
    return {**kept, **samples.environment(home), **quiet}
