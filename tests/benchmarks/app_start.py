"""Measure the time of `metatui --version`, the time until the app's first frame, and the size of that frame."""

from __future__ import annotations

import statistics
import subprocess
import time

from tests.benchmarks.app_table import Figure
from tests.benchmarks.app_terminal import COMMAND, Watched, children_cpu, environment_of, new_home

PARTS = ("1 Work", "form: preset quick", "Settings", "Iterations", "Next run", "No run is shown", "F5 Start", "Quit")
"""Texts that the screen contains when the app's first frame is complete, from the first row to the last."""


def is_full(text: str) -> bool:
    return all(part in text for part in PARTS)


def measure(rounds: int) -> list[Figure]:
    """Measure the time of `metatui --version` and the time until the app's first frame, alternately."""
    versions, frames, version_cpu, frame_cpu, sizes = [], [], [], [], []
    with new_home() as home:
        for _ in range(rounds):
            before, began = children_cpu(), time.monotonic()
            subprocess.run([*COMMAND, "--version"], env=environment_of(home), check=True, capture_output=True)
            versions.append(time.monotonic() - began)
            version_cpu.append(children_cpu() - before)
            with Watched(home=home) as app:
                app.quiet(0.5)
                frames.append(app.first(is_full))
                frame_cpu.append(app.start_cpu_seconds)
                sizes.append(sum(len(chunk.data) for chunk in app.chunks))
    return [
        _figure("`metatui --version`", 0.25, versions, version_cpu),
        _figure("start to first full frame, 120x40", 0.6, frames, frame_cpu),
        Figure("bytes of the first screen", "", f"{statistics.median(sizes) / 1024:.0f} KiB"),
    ]


def _figure(name: str, limit: float, wall: list[float], cpu: list[float]) -> Figure:
    middle = statistics.median(wall)
    measured = (
        f"{middle:.2f} s (fastest {min(wall):.2f} s; processor {statistics.median(cpu):.2f} s, least {min(cpu):.2f} s)"
    )
    return Figure(name, f"{limit:g} s", measured, middle <= limit)
