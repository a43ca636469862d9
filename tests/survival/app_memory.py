"""Check that the memory use of the real app and its training process does not grow, on a terminal of 120x40 cells."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from metatui.runs.storage.store import RunStore
from tests.benchmarks.app_terminal import Watched, new_home, settings
from tests.metrics import read_all
from tests.survival.memory import MAX_GROWTH, Resident, resident
from tests.terminal.checks import trainer_pid

WINDOW = 30
"""Number of seconds over which the median memory use is computed."""

PRINT_EVERY = 60
"""Seconds between lines that report the current memory use."""


def watch_app(*, preset: str, minutes: float, warm_up: float) -> int:
    """Train `preset` in the app, print the memory use of each process, and check how much it grows after the warm-up.

    Args:
        minutes: minutes of training.
        warm_up: minutes after which growth is measured.

    Returns:
        1 if the memory use of any process grew too much, otherwise 0.
    """
    with new_home() as home:
        samples, reached = _trained(home, preset, seconds=round(60 * minutes))
    print(f"{reached:,} meta-steps\n{'process':9}{'memory':8}{'warm':>12}{'end':>12}{'growth':>8}")
    grew = 0
    for name, taken in samples.items():
        for kind in Resident._fields:
            warm = _middle(taken, kind, round(60 * warm_up))
            end = _middle(taken, kind, len(taken))
            grew += end > (1 + MAX_GROWTH) * warm
            print(f"{name:9}{kind:8}{warm / 2**20:8.1f} MiB{end / 2**20:8.1f} MiB{end / warm - 1:8.1%}")
    return 1 if grew else 0


def _trained(home: Path, preset: str, *, seconds: int) -> tuple[dict[str, list[Resident]], int]:
    """Train `preset` in the app, and measure the memory use of each process once a second.

    Returns:
        The measurements of each process, and the number of meta-steps.
    """
    endless = settings(training__iterations=100_000_000, compute__device="cpu")
    with Watched("--preset", preset, *endless, "--start", home=home) as app:
        app.wait_for(b"meta-steps/s")
        began = time.monotonic()
        (run,) = RunStore(home / "runs").runs()
        processes = {"app": app.app, "trainer": trainer_pid(run), "parent": app.process.pid}
        samples: dict[str, list[Resident]] = {name: [] for name in processes}
        for second in range(1, seconds + 1):
            time.sleep(max(0.0, began + second - time.monotonic()))
            for name, pid in processes.items():
                samples[name].append(resident(pid))
            if second % PRINT_EVERY == 0:
                now = ", ".join(f"{name} {taken[-1].own / 2**20:.1f} MiB" for name, taken in samples.items())
                print(f"{second // 60:3} min: {now}", flush=True)
        pressed = time.monotonic()
        app.press("f7")  # otherwise, the run would continue without the app
        app.wait_for(b"Stopped", since=pressed)
        return samples, read_all(run.metrics())[-1].iteration


def _middle(samples: list[Resident], kind: str, until: int) -> float:
    return float(statistics.median(getattr(each, kind) for each in samples[max(0, until - WINDOW) : until]))
