"""Measure the overhead that a run adds to its meta-steps: `python -m tests.benchmarks.product`.

In one process, the benchmark alternates between a run as in `metatui run` (drawing tasks, writing metrics and the
journal, printing progress lines) and bare meta-steps of the same experiment on fixed tasks. It prints the milliseconds
of a meta-step in both cases, and the overhead, which should be at most 0.1 ms or 15 %, whichever is larger. Validations
are not timed. A run that switches to compiled meta-steps is timed after the switch.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from metatui.cli.console.progress import LiveDisplay, PlainDisplay, display
from metatui.config.fields import change
from metatui.events import Event, Noted, Progress, Started
from metatui.runs.execution.session import Session
from tests.benchmarks.report import figure, machine, write_json
from tests.benchmarks.side import Side, UnavailableError
from tests.benchmarks.sides_metatui import metatui_side
from tests.benchmarks.timing import DisagreementError, take_turns
from tests.benchmarks.works import Work, works

ENDLESS = 100_000_000
"""Number of meta-steps of the timed run. It is so large that the benchmark stops the run before its end."""

LIMIT_MS, LIMIT_SHARE = 0.1, 0.15
"""Limits of the overhead, in milliseconds and as a fraction of the time of a bare meta-step. The larger limit
applies."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.product",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows whose name contains TEXT")
    parser.add_argument("--seconds", type=float, default=10.0, help="approximate seconds for each row (default: 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the figures to")
    options = parser.parse_args(arguments)
    rows = []
    for work in works():
        if options.only.lower() in work.name.lower():
            print(f"{work.name} …", file=sys.stderr, flush=True)
            rows.append(measure_overhead(work, options.seconds))
    if not rows:
        raise SystemExit(f"--only is {options.only!r}, but must be part of a row's name")
    write_json(options.json, {"machine": machine("cpu"), "rows": rows})
    print(table(rows))


def measure_overhead(work: Work, seconds: float) -> dict[str, Any]:
    """Time a bare meta-step and a meta-step within a run, and return the figures of one row of the table."""
    # For both, `auto` must choose the same engine, so the settings must be the same.
    settings = change(
        work.settings, {"training.iterations": ENDLESS, "evaluation.every": 0, "compute.compile_after": 1}
    )
    work = replace(work, settings=settings)
    bare = metatui_side(work)
    with tempfile.TemporaryDirectory() as folder, a_run(work, Path(folder)) as run:
        if run.engine != bare.engine:
            raise DisagreementError(f"the engine is {run.engine} in the run, but {bare.engine} in the bare meta-steps")
        timed = take_turns([bare, run], seconds)
    without, within = timed[bare.name], timed[run.name]
    # The turns of a round have the same load on the machine.
    added = [b - a for a, b in zip(without.turns, within.turns, strict=True)]
    return {
        "work": work.name, "bare_ms": without.ms, "run_ms": within.ms, "added_ms": statistics.median(added),
        "bare_turns_ms": list(without.turns), "run_turns_ms": list(within.turns),
    }  # fmt: skip


@contextmanager
def a_run(work: Work, folder: Path) -> Iterator[Side]:
    """Start a real run whose meta-steps can be timed.

    Its meta-steps include drawing tasks, writing metrics and printing progress.
    """
    session = Session.start(work.settings, runs_dir=folder)
    threads = torch.get_num_threads()
    with redirect_stderr(io.StringIO()), display(session.run) as shown, closing(iter(session)) as events:
        engine = settle(events, shown)

        def step() -> None:
            for event in events:
                shown.update(event)
                if isinstance(event, Progress):
                    return

        yield Side("run", step, dict, threads, engine)


def settle(events: Iterator[Event], shown: PlainDisplay | LiveDisplay) -> str:
    """Advance the run until it no longer changes its engine, and return the name of the engine.

    If the run does not compile meta-steps, one meta-step is enough. Otherwise, the run is advanced until it switches
    to compiled meta-steps.

    Raises:
        UnavailableError: if the run cannot switch to compiled meta-steps.
    """
    engine = ""
    for event in events:
        shown.update(event)
        match event:
            case Started():
                engine = event.engine
            case Noted() if event.text.startswith("Meta-steps are compiled"):
                return engine
            case Noted() if event.text.startswith("Training continues on the batched engine"):
                raise UnavailableError(event.text)
            case Progress() if engine != "compiled":
                return engine
    raise UnavailableError("the run ended")


def table(rows: list[dict[str, Any]]) -> str:
    """Format a Markdown table of the times of a bare meta-step and of a meta-step within a run, and of the overhead.

    The overhead is the median, over all rounds, of the difference between the two times.
    """
    lines = [
        "| work (ms a meta-step) | bare meta-step | in a run | added | at most |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        bare, added = row["bare_ms"], row["added_ms"]
        limit = max(LIMIT_MS, LIMIT_SHARE * bare)
        lines.append(
            f"| {row['work']} | {figure(bare, 3)} | {figure(row['run_ms'], 3)} | {added:.2f} ({added / bare:.0%}) "
            f"| {limit:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
