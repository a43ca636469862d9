"""Measure the memory of inner steps: `python -m tests.benchmarks.memory`.

The benchmark measures the peak memory of second-order MAML meta-steps of conv4-64 (4 tasks, 5-way 1-shot, 15 queries)
in float32, with 1 and with 20 inner steps: for `auto`, and for each engine with the graph of all inner steps (unrolled)
and with Hessian-vector products (recomputed). Each measurement has its own process and starts after one meta-step, so
that libraries and compiled code do not count. The benchmark prints the ratio, whose limit is 1.5, and the relative
distance to `higher` of the meta-parameters of one task after 20 steps in float64.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from metatui.config.fields import change
from metatui.learning.hardware.peak_memory import PeakMemory
from tests.benchmarks.report import machine, written
from tests.benchmarks.side import Unavailable
from tests.benchmarks.sides_higher import higher_side
from tests.benchmarks.sides_metatui import metatui_side
from tests.benchmarks.timing import Disagree, check_agreement, threads
from tests.benchmarks.works import Work, images

FEW, MANY = 1, 20
WAYS = (
    ("auto", "auto"),
    ("loop", "recomputed"),
    ("loop", "unrolled"),
    ("batched", "recomputed"),
    ("batched", "unrolled"),
)
"""Values of `compute.engine` and `compute.second_order`."""

LIMIT = 1.5
META_STEPS = 3
"""Number of meta-steps measured together, because tasks in several threads do not always peak at the same time."""

PATIENCE = 900
"""Seconds after which a process is killed. Compiling takes long."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows whose name contains TEXT")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the figures to")
    parser.add_argument("--measure", nargs=3, metavar=("ENGINE", "HOW", "STEPS"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        engine, how, steps = options.measure
        work = images("maml", device=options.device, steps=int(steps))
        print(json.dumps(asdict(measured(engine, by(how, work)))))
        return
    rows = []
    for engine, how in WAYS:
        if options.only in name_of(engine, how):
            print(f"{name_of(engine, how)} …", file=sys.stderr, flush=True)
            rows.append(row(engine, how, options.device))
    if not rows:
        raise SystemExit(f"--only is {options.only!r}, but must be part of a row's name")
    written(options.json, {"machine": machine(options.device), "rows": rows})
    print(table(rows))


def name_of(engine: str, how: str) -> str:
    return engine if engine == how else f"{engine}, {how}"


def by(how: str, work: Work) -> Work:
    """Set the method for second derivatives, and disable CUDA graphs, which hide allocations."""
    return replace(work, settings=change(work.settings, {"compute.second_order": how, "compute.cuda_graphs": False}))


def row(engine: str, how: str, device: str) -> dict[str, Any]:
    """Return the figures of an engine and method, or the reason why it cannot be measured."""
    found: dict[str, Any] = {"name": name_of(engine, how)}
    try:
        few, many = (in_a_process(engine, how, steps, device) for steps in (FEW, MANY))
        distance = distance_of(engine, by(how, images("maml", device=device, tasks=1, steps=MANY)))
    except (Unavailable, Disagree) as sentence:
        return {**found, "error": str(sentence)}
    return {**found, "few": asdict(few), "many": asdict(many), "distance": distance}


@dataclass(frozen=True)
class Peaked:
    """Result of one process."""

    engine: str
    """Engine chosen by `auto`."""
    bytes: int


def in_a_process(engine: str, how: str, steps: int, device: str) -> Peaked:
    """Measure the peak of meta-steps in a new process. Raises Unavailable."""
    command = [sys.executable, "-m", "tests.benchmarks.memory", "--device", device]
    try:
        done = subprocess.run(
            [*command, "--measure", engine, how, str(steps)], capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{steps} steps did not finish in {PATIENCE} s") from error
    if done.returncode:
        raise Unavailable((done.stderr.strip().splitlines() or ["the process died"])[-1])
    return Peaked(**json.loads(done.stdout))


def measured(engine: str, work: Work) -> Peaked:
    """Measure the peak of meta-steps of `work` in this process. Raises Unavailable."""
    side = metatui_side(work, engine)
    with threads(side.threads):
        side.step()
        peak = PeakMemory(str(work.device), over_current=True)
        for _ in range(META_STEPS):
            side.step()
    found = peak.bytes()
    if found is None:
        raise Unavailable("this system does not report peak memory")
    assert side.engine is not None
    return Peaked(side.engine, found)


def distance_of(engine: str, work: Work) -> float:
    """Return the relative distance to `higher` of the meta-parameters, in float64. Raises Disagree, Unavailable."""
    _, found = check_agreement(work, [higher_side, lambda exact: metatui_side(exact, engine)]).values()
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Format peaks in MB and their ratio; for `auto`, also the engines chosen for few and for many steps."""
    lines = [
        f"| second order | {FEW} inner step | {MANY} inner steps | ratio | at most | from `higher`, float64 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for found in rows:
        if "error" in found:
            lines.append(f"| {found['name']} | {found['error']} | | | | |")
            continue
        few, many = found["few"], found["many"]
        name = found["name"]
        if name == "auto":
            name = f"auto ({few['engine']}, {many['engine']})"
        lines.append(
            f"| {name} | {few['bytes'] / 1e6:.0f} MB | {many['bytes'] / 1e6:.0f} MB "
            f"| {many['bytes'] / few['bytes']:.2f} | {LIMIT} | {found['distance']:.0e} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
