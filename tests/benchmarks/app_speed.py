"""Compare the training speed of runs in the app with that of the same runs without the app, alternately."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path

from metatui.runs.storage.store import RunStore
from tests.benchmarks.app_table import Figure
from tests.benchmarks.app_terminal import COMMAND, Watched, environment_of, new_home, settings

MIN_SPEED_RATIO = 0.95


def measure(work: Sequence[tuple[str, int]], *, rounds: int, options: Sequence[str] = ()) -> list[Figure]:
    """Compare the training speed in the app with the speed without it, for each preset and its number of meta-steps."""
    return [_measure(preset, iterations, rounds, options) for preset, iterations in work]


def _measure(preset: str, iterations: int, rounds: int, options: Sequence[str]) -> Figure:
    chosen = [
        *settings(
            training__iterations=iterations, evaluation__every=0, evaluation__tasks=2, evaluation__test_tasks=2,
            checkpoint__every=86_400,
        ),
        *options,
    ]  # fmt: skip
    without, within = [], []
    for _ in range(rounds):
        with new_home() as home:
            subprocess.run(
                [*COMMAND, "run", preset, *chosen], env=environment_of(home), check=True, capture_output=True
            )
            without.append(speed(home))
        with new_home() as home:
            with Watched("--preset", preset, *chosen, "--start", home=home) as app:
                app.wait_for(b"Finished")
            within.append(speed(home))
    ratios = [b / a for a, b in zip(without, within, strict=True)]
    ratio = statistics.median(ratios)
    measured = (
        f"{100 * ratio:.1f} % ({statistics.median(within):.4g} of {statistics.median(without):.4g} meta-steps/s; "
        f"rounds {', '.join(f'{100 * each:.0f}' for each in ratios)})"
    )
    return Figure(
        f"speed in the app, relative to the speed without it, {preset}", "95 %", measured, ratio >= MIN_SPEED_RATIO
    )


def speed(home: Path) -> float:
    """Return the meta-steps per second of the only run in `home`, according to the start and end in its journal."""
    (run,) = RunStore(home / "runs").runs()
    journal = run.journal()
    started = next(entry for entry in journal if entry.event == "started")
    ended = next(entry for entry in reversed(journal) if entry.event == "finished")
    return ended.iteration / (ended.time - started.time).total_seconds()
