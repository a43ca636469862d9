"""Measure how peak memory grows with the number of inner steps: `python -m tests.benchmarks.memory`.

The benchmark measures the peak memory of second-order MAML meta-steps of conv4-64 (4 tasks, 5-way 1-shot, 15 queries)
in float32, with 1 and with 20 inner steps. It measures `auto` and two engines, each with the graph of all inner steps
(unrolled) and with Hessian-vector products (recomputed). Each measurement runs in a new process and starts after one
meta-step, so that libraries and compiled code do not count.

The benchmark prints both peaks and their ratio, which should be at most 1.5. It also compares the meta-parameters of
metatui with those of `higher` (one task, 20 inner steps, float64), and prints their relative distance.
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
from tests.benchmarks.report import machine, write_json
from tests.benchmarks.side import UnavailableError
from tests.benchmarks.sides_higher import higher_side
from tests.benchmarks.sides_metatui import metatui_side
from tests.benchmarks.timing import DisagreementError, check_agreement, threads
from tests.benchmarks.works import Work, images

FEW, MANY = 1, 20
CONFIGURATIONS = (
    ("auto", "auto"),
    ("loop", "recomputed"),
    ("loop", "unrolled"),
    ("batched", "recomputed"),
    ("batched", "unrolled"),
)
"""Measured combinations of `compute.engine` and `compute.second_order`."""

LIMIT = 1.5
META_STEPS = 3
"""Number of meta-steps over which a peak is measured. One is not enough, because tasks in several threads do not always
reach their peaks at the same time."""

PATIENCE = 900
"""Seconds after which a measuring process is killed. The limit is high because compiling takes a long time."""


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
        print(json.dumps(asdict(measure_memory(engine, with_second_order(how, work)))))
        return
    rows = []
    for engine, how in CONFIGURATIONS:
        if options.only in name_of(engine, how):
            print(f"{name_of(engine, how)} …", file=sys.stderr, flush=True)
            rows.append(row(engine, how, options.device))
    if not rows:
        raise SystemExit(f"--only is {options.only!r}, but must be part of a row's name")
    write_json(options.json, {"machine": machine(options.device), "rows": rows})
    print(table(rows))


def name_of(engine: str, how: str) -> str:
    return engine if engine == how else f"{engine}, {how}"


def with_second_order(how: str, work: Work) -> Work:
    """Return `work` with the method `how` for second derivatives, and without CUDA graphs, which hide allocations."""
    return replace(work, settings=change(work.settings, {"compute.second_order": how, "compute.cuda_graphs": False}))


def row(engine: str, how: str, device: str) -> dict[str, Any]:
    """Return the figures of one row of the table, or the reason why the row cannot be measured."""
    found: dict[str, Any] = {"name": name_of(engine, how)}
    try:
        few, many = (in_a_process(engine, how, steps, device) for steps in (FEW, MANY))
        distance = distance_of(engine, with_second_order(how, images("maml", device=device, tasks=1, steps=MANY)))
    except (UnavailableError, DisagreementError) as sentence:
        return {**found, "error": str(sentence)}
    return {**found, "few": asdict(few), "many": asdict(many), "distance": distance}


@dataclass(frozen=True)
class PeakResult:
    """Peak memory of meta-steps, measured in one process."""

    engine: str
    """Engine that was used. If `auto` was given, this is the engine that it chose."""
    bytes: int


def in_a_process(engine: str, how: str, steps: int, device: str) -> PeakResult:
    """Measure the peak memory of meta-steps in a new process.

    Raises:
        UnavailableError: if the process fails or takes longer than PATIENCE.
    """
    command = [sys.executable, "-m", "tests.benchmarks.memory", "--device", device]
    try:
        done = subprocess.run(
            [*command, "--measure", engine, how, str(steps)], capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{steps} steps did not finish in {PATIENCE} s") from error
    if done.returncode:
        raise UnavailableError((done.stderr.strip().splitlines() or ["the process died"])[-1])
    return PeakResult(**json.loads(done.stdout))


def measure_memory(engine: str, work: Work) -> PeakResult:
    """Measure the peak memory of meta-steps of `work` in this process.

    Raises:
        UnavailableError: if the engine cannot be used, or this system does not report peak memory.
    """
    side = metatui_side(work, engine)
    with threads(side.threads):
        side.step()
        peak = PeakMemory(str(work.device), over_current=True)
        for _ in range(META_STEPS):
            side.step()
    found = peak.bytes()
    if found is None:
        raise UnavailableError("this system does not report peak memory")
    assert side.engine is not None
    return PeakResult(side.engine, found)


def distance_of(engine: str, work: Work) -> float:
    """Return the relative distance between the meta-parameters of metatui and those of `higher`, in float64.

    Raises:
        DisagreementError: if the distance is larger than AGREEMENT.
        UnavailableError: if the engine cannot be used.
    """
    _, found = check_agreement(work, [higher_side, lambda exact: metatui_side(exact, engine)]).values()
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Format a Markdown table of the peak memory for few and for many inner steps, and of the distance from `higher`.

    The row of `auto` also names the engines that were chosen.
    """
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
