"""Measure how much memory and drawing time the app needs for a history of a million meta-steps.

Two commands measure in the current process and print JSON: `python -m tests.benchmarks.app_history live` for meta-steps
that arrive while the app is open, and `... read` for a run that is read from disk.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from metatui.config.settings import Settings
from metatui.events import Progress
from metatui.runs.execution.control.messages import Hello
from metatui.runs.storage.metrics import MetricsWriter
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.tui.controllers.run_client import RunClient
from metatui.tui.launch import make_app
from metatui.tui.model.replay import Replay
from metatui.tui.model.run_model import RunModel
from tests.benchmarks.app_table import Figure
from tests.benchmarks.app_terminal import SIZE, environment_of, new_home

FEW, MANY = 1_000, 1_000_000
MAX_GROWTH = 50 * 2**20
DRAINED = 500
"""Number of meta-steps that are taken from the queue at once, as in the app while a run performs 1,000 meta-steps per
second."""
ROUNDS = 50
"""Number of times that each run is drawn."""


def measure() -> list[Figure]:
    live, read = _child("live"), _child("read")
    return [
        _memory("memory growth from 1,000 to 1,000,000 meta-steps", live["growth"]),
        Figure(
            "drawing curves and sparklines of 1,000,000 meta-steps, compared with 1,000", "no slower",
            f"{1000 * live['draw_many']:.1f} ms, {1000 * live['draw_few']:.1f} ms ({live['slower']:.2f} times)",
            live["slower"] <= 1.1,
        ),
        Figure("processing one meta-step, in batches of 500", "", f"{1e6 * live['take']:.2f} µs"),
        _memory("reading a run of 1,000,000 meta-steps from disk: memory growth", read["growth"]),
        _memory("the same: peak memory growth", read["peak"]),
        Figure("the same: CPU time", "", f"{read['seconds']:.1f} s"),
    ]  # fmt: skip


def _memory(what: str, growth: float) -> Figure:
    return Figure(what, "50 MB", f"{growth / 1e6:.1f} MB", growth < MAX_GROWTH)


def _child(what: str) -> dict[str, float]:
    with new_home() as home:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.app_history", what],
            env=environment_of(home) | {"BENCHMARK_HOME": str(home)}, check=True, capture_output=True, text=True,
        )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found


def steps(first: int, last: int, length: int) -> Iterator[Progress]:
    """Yield the events of meta-steps `first` to `last` of `length`, with random noise in their metrics.

    Runs of all lengths have curves of the same shape, so that their drawing times can be compared.
    """
    noise = random.Random(first)
    for iteration in range(first, last + 1):
        loss = 0.3 + 3 / (1 + 200 * iteration / length) + 0.2 * noise.random()
        yield Progress(iteration, loss, None, loss + 1, noise.random(), 0.001, 25 * iteration, iteration / 1000)


NOWHERE = RunFolder(Path("run"))


class _FakeSession:
    """Fake session that sends only the given events."""

    hello = Hello(protocol=1, run="run", pid=0, host="", phase="running", iteration=0, settings=Settings())

    def __init__(self, run: RunFolder, events: Iterator[Progress]) -> None:
        self.run = run
        self._events = events

    def __iter__(self) -> Iterator[Progress]:
        return self._events

    def submit(self, command: object) -> None:
        pass

    def close(self) -> None:
        pass


def train(model: RunModel, length: int) -> float:
    """Pass the meta-steps of a run of `length` meta-steps to `model` through a queue, as the app does.

    Returns:
        Mean CPU time for processing a meta-step, in seconds.
    """
    took = 0.0
    for first in range(1, length + 1, DRAINED):
        client, events = RunClient(), steps(first, min(length, first + DRAINED - 1), length)
        client.begin(lambda events=events: _FakeSession(NOWHERE, events), model)  # type: ignore[misc]
        assert client.receiver
        client.receiver.over.wait()
        began = time.thread_time()
        client.drain()
        took += time.thread_time() - began
    return took / length


async def live() -> dict[str, float]:
    """Run the app without a terminal, and measure its memory growth and the times to process and to draw meta-steps."""
    few, many, first = (RunModel(Settings()) for _ in range(3))
    app = make_app(settings=Settings(), runs_dir=Path(os.environ["BENCHMARK_HOME"]) / "runs")
    took: dict[str, list[float]] = {"few": [], "many": []}
    async with app.run_test(size=SIZE) as pilot:
        app.work_tab.show_run_panes(shown=True)  # shows the panes with the sparklines and the curves
        train(few, FEW)
        train(first, FEW)
        for model in (few, first):  # objects created by the first drawing do not count as growth
            app.run_controller.shown = model
            app.run_controller.show_run()
            await pilot.pause()
        before = resident()
        take = train(many, MANY)
        for _ in range(ROUNDS):
            for name, model in (("few", few), ("many", many)):
                app.run_controller.shown = model
                began = time.thread_time()
                app.run_controller.show_run()
                took[name].append(time.thread_time() - began)
                await pilot.pause()
        growth = resident() - before
        assert all(app.screen.query_one(chart).is_on_screen for chart in ("#spark-loss", "#curves-chart"))
    return {
        "growth": growth,
        "take": take,
        "draw_few": statistics.median(took["few"]),
        "draw_many": statistics.median(took["many"]),
        "slower": statistics.median(many / few for few, many in zip(took["few"], took["many"], strict=True)),
    }


def read() -> dict[str, float]:
    run = _run_on_disk(Path(os.environ["BENCHMARK_HOME"]) / "runs")
    Replay(run).run.status()  # import required modules
    before, began = resident(), time.thread_time()
    model = Replay(run).read()
    seconds = time.thread_time() - began
    assert model.iteration == MANY
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return {"growth": resident() - before, "peak": peak - before, "seconds": seconds}


def _run_on_disk(root: Path) -> RunFolder:
    """Write a run of MANY meta-steps below `root`, and return its folder.

    A child process writes the run, so that the memory for writing is not measured.
    """
    subprocess.run([sys.executable, "-m", "tests.benchmarks.app_history", "write", str(root)], check=True)
    (run,) = RunStore(root).runs()
    return run


def write_run(root: Path) -> None:
    writer = MetricsWriter(RunStore(root).create(Settings()).metrics_path, after=0)
    for step in steps(1, MANY, MANY):
        writer.append(step)
    writer.close()


def resident() -> int:
    """Return the resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["live"]:
            print(json.dumps(asyncio.run(live())))
        case ["read"]:
            print(json.dumps(read()))
        case ["write", folder]:
            write_run(Path(folder))
