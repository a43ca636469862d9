"""What inner steps cost in memory: `python -m tests.benchmarks.memory`.

The peak of one second-order MAML meta-step of conv4-64 (4 tasks, 5-way 1-shot, 15 queries) over what the process held
before it, with 1 and with 20 inner steps, in float32. Each in a process of its own and after a meta-step that is not
measured, so that what is loaded or compiled once does not count. Prints the ratio beside the limit of 1.5, and how far
20 steps in float64 move the meta-parameters of one task from where `higher` moves them, which unrolls all of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metatui.learning.benchmark.memory import Peak
from tests.benchmarks.report import machine, written
from tests.benchmarks.side import Side, Unavailable
from tests.benchmarks.sides_higher import higher_side
from tests.benchmarks.sides_metatui import OTHERS, by_engine
from tests.benchmarks.timing import Disagree, check_agreement, threads
from tests.benchmarks.works import Work, images

FEW, MANY = 1, 20
LIMIT = 1.5
PATIENCE = 900
"""Seconds that one process may take: compiling takes its time."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engines", nargs="+", default=["auto", *OTHERS], metavar="NAME", help="default: all")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--measure", nargs=2, metavar=("ENGINE", "STEPS"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        engine, steps = options.measure
        print(json.dumps(measured(engine, images("maml", device=options.device, steps=int(steps)))))
        return
    rows = []
    for engine in options.engines:
        print(f"{engine} …", file=sys.stderr, flush=True)
        rows.append(row(engine, options.device))
    written(options.json, {"machine": machine(options.device), "rows": rows})
    print(table(rows))


def row(engine: str, device: str) -> dict[str, Any]:
    """The figures of one engine, or the sentence that says why there are none."""
    found: dict[str, Any] = {"engine": engine}
    try:
        found["few_bytes"], found["many_bytes"] = (in_a_process(engine, steps, device) for steps in (FEW, MANY))
        found["distance"] = distance(engine, images("maml", device=device, tasks=1, steps=MANY))
    except (Unavailable, Disagree) as sentence:
        found["error"] = str(sentence)
    return found


def in_a_process(engine: str, steps: int, device: str) -> int:
    """Peak bytes of a meta-step. Raises Unavailable."""
    command = [sys.executable, "-m", "tests.benchmarks.memory", "--device", device, "--measure", engine, str(steps)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{steps} steps were not done in {PATIENCE} s") from error
    if done.returncode:
        raise Unavailable((done.stderr.strip().splitlines() or ["the process died"])[-1])
    peak: int = json.loads(done.stdout)
    return peak


def measured(engine: str, work: Work) -> int:
    """Peak bytes of a meta-step of `work` in this process. Raises Unavailable."""
    side: Side = by_engine(engine)(work)
    with threads(side.threads):
        side.step()
        peak = Peak(work.device)
        side.step()
    found = peak.bytes()
    if found is None:
        raise Unavailable("this system does not tell the peak of memory")
    return found


def distance(engine: str, work: Work) -> float:
    """Relative distance of where `engine` moves the meta-parameters, in float64. Raises Disagree, Unavailable."""
    _, found = check_agreement(work, [higher_side, by_engine(engine)]).values()
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Peaks in MB and their ratio."""
    lines = [
        f"| engine | {FEW} inner step | {MANY} inner steps | ratio | at most | from `higher`, float64 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for found in rows:
        if "error" in found:
            lines.append(f"| {found['engine']} | {found['error']} | | | | |")
            continue
        few, many = found["few_bytes"], found["many_bytes"]
        lines.append(
            f"| {found['engine']} | {few / 1e6:.0f} MB | {many / 1e6:.0f} MB | {many / few:.2f} | {LIMIT} "
            f"| {found['distance']:.0e} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
