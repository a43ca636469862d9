"""Reproduce Table 1 of Finn et al. 2017 for Omniglot: `python -m tests.benchmarks.finn_table --device cuda`.

The benchmark trains the presets of the four cells of the table. It prints a Markdown table with the published test
accuracy, the accuracy of metatui on 600 held-out tasks with its 95 % interval, the difference, and the duration of the
run and its test, which should be at most 10 minutes. Omniglot must be packed first (`metatui data omniglot`).
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metatui.config import presets
from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.presets import Preset
from metatui.config.settings import Settings
from metatui.runs.api import train
from metatui.utils.errors import MetatuiError
from tests.benchmarks.report import machine, write_json

CELLS = (
    "omniglot-5way-1shot-finn",
    "omniglot-5way-5shot-finn",
    "omniglot-20way-1shot-finn",
    "omniglot-20way-5shot-finn",
)

LIMIT_MINUTES = 10


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    rows, problems = [], []
    for name in options.cells:
        preset = presets.load(name)
        settings = smaller(preset.settings, options.iterations, options.tasks, options.device)
        print(f"{preset.title}, {settings.training.iterations:,} meta-steps …", file=sys.stderr, flush=True)
        try:
            rows.append(train_cell(preset, settings, options.runs_dir))
        except MetatuiError as error:
            problems.append(f"{name}: {error}")
            continue
        write_json(options.json, {"machine": machine(options.device), "rows": rows})
    if rows:
        print(table(rows))
    if problems:
        raise SystemExit("\n".join(problems))


def smaller(settings: Settings, iterations: int | None, tasks: int | None, device: str) -> Settings:
    """Return `settings` with another device and, if given, other numbers of meta-steps and held-out tasks."""
    changes: dict[str, Scalar] = {"compute.device": device}
    if iterations is not None:
        changes["training.iterations"] = iterations
    if tasks is not None:
        changes |= {"evaluation.tasks": tasks, "evaluation.test_tasks": tasks}
    return change(settings, changes)


def train_cell(preset: Preset, settings: Settings, runs_dir: Path | None) -> dict[str, Any]:
    """Train the preset of one cell and return the figures of its row. Raises MetatuiError if the run fails."""
    began = time.monotonic()
    result = train(settings, runs_dir=runs_dir)
    minutes = (time.monotonic() - began) / 60
    assert result.run is not None
    assert result.test is not None
    mean, ci95 = result.test.final
    reached, spread = published_accuracy(preset)
    return {
        "cell": f"{settings.task.ways}-way {settings.task.shots}-shot", "preset": preset.name, "run": result.run.id,
        "published": reached, "published_ci95": spread, "accuracy": 100 * mean, "ci95": 100 * ci95,
        "tasks": result.test.tasks, "meta_steps": result.iterations, "minutes": minutes,
    }  # fmt: skip


def published_accuracy(preset: Preset) -> tuple[float, float]:
    """Return the published accuracy that a preset states, and the half-width of its confidence interval, in percent."""
    found = re.match(r"([\d.]+) ± ([\d.]+) %", preset.published or "")
    if found is None:
        raise ValueError(f"{preset.name} states no published accuracy with an interval")
    return float(found[1]), float(found[2])


def table(rows: list[dict[str, Any]]) -> str:
    """Format a Markdown table of published and measured accuracies, in percent."""
    lines = [
        "| cell | published, % | metatui, % | distance | held-out tasks | meta-steps | minutes | at most |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += (
        f"| {r['cell']} | {r['published']} ± {r['published_ci95']} | {r['accuracy']:.1f} ± {r['ci95']:.1f} "
        f"| {r['accuracy'] - r['published']:+.1f} | {r['tasks']:,} | {r['meta_steps']:,} | {r['minutes']:.1f} "
        f"| {LIMIT_MINUTES} |"
        for r in rows
    )
    return "\n".join(lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.finn_table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cells", nargs="+", default=CELLS, choices=CELLS, metavar="PRESET", help="default: all four")
    parser.add_argument("--iterations", type=int, metavar="N", help="number of meta-steps; default: the presets'")
    parser.add_argument("--tasks", type=int, metavar="N", help="number of held-out tasks; default: the presets'")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runs-dir", type=Path, metavar="DIR", help="folder of the runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the figures to")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
