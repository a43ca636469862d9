"""What a real run adds to the meta-step: `python -m tests.benchmarks.product`.

A run without the app, as `metatui run` makes it (tasks drawn, metrics and journal on disk, progress in plain lines),
and bare meta-steps of the same experiment on given tasks take turns in one process. Prints the milliseconds of both and
what the run adds, beside the limit: 0.1 ms or 15 %, whichever is more. Validations are left out; where a run changes
over to a compiled engine, the time is taken after that.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch

from metatui.cli.console.progress import Display, display
from metatui.config.fields import change
from metatui.events import Event, Noted, Progress, Started
from metatui.runs.execution.session import Session
from tests.benchmarks.report import figure, machine, written
from tests.benchmarks.side import Side
from tests.benchmarks.sides_metatui import metatui_side
from tests.benchmarks.timing import take_turns
from tests.benchmarks.works import Work, works

ENDLESS = 100_000_000
"""Meta-steps of a run that ends when it has been timed."""

LIMIT_MS, LIMIT_SHARE = 0.1, 0.15
"""What a run may add to a meta-step: the larger of the two."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.product",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name has TEXT in it")
    parser.add_argument("--seconds", type=float, default=10.0, help="spent on each row, about (default 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args(arguments)
    rows = []
    for work in works():
        if options.only.lower() in work.name.lower():
            print(f"{work.name} …", file=sys.stderr, flush=True)
            rows.append(measured(work, options.seconds))
    if not rows:
        raise SystemExit(f"--only is {options.only!r}, but must be part of a row's name")
    written(options.json, {"machine": machine("cpu"), "rows": rows})
    print(table(rows))


def measured(work: Work, seconds: float) -> dict[str, Any]:
    """The figures of one row."""
    bare = metatui_side(work)
    with tempfile.TemporaryDirectory() as folder, a_run(work, Path(folder)) as run:
        timed = take_turns([bare, run], seconds)
    without, within = timed[bare.name], timed[run.name]
    # Turns of one round had the same neighbours on the machine.
    added = [b - a for a, b in zip(without.turns, within.turns, strict=True)]
    return {
        "work": work.name, "bare_ms": without.ms, "run_ms": within.ms, "added_ms": statistics.median(added),
        "bare_turns_ms": list(without.turns), "run_turns_ms": list(within.turns),
    }  # fmt: skip


@contextmanager
def a_run(work: Work, folder: Path) -> Iterator[Side]:
    """A run of `work`'s settings as a side whose meta-steps are its own, drawn, recorded and shown."""
    settings = change(
        work.settings, {"training.iterations": ENDLESS, "evaluation.every": 0, "compute.compile_after": 1}
    )
    session = Session.start(settings, runs_dir=folder)
    threads = torch.get_num_threads()
    with redirect_stderr(io.StringIO()), display(session.run) as shown, closing(iter(session)) as events:
        _settle(events, shown)

        def step() -> None:
            for event in events:
                shown.see(event)
                if isinstance(event, Progress):
                    return

        yield Side("run", step, dict, threads)


def _settle(events: Generator[Event, None, None], shown: Display) -> None:
    """Go on until the engine will not change any more: from the first meta-step, or from the one of which a run whose
    engine compiles says that it has, or that it cannot."""
    compiles = False
    for event in events:
        shown.see(event)
        if isinstance(event, Started):
            compiles = event.engine == "compiled"
        if isinstance(event, Noted) and not event.text.startswith("Waiting"):
            return
        if isinstance(event, Progress) and not compiles:
            return


def table(rows: list[dict[str, Any]]) -> str:
    """Milliseconds a meta-step, and what the run adds: the median difference of turns that followed each other."""
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
