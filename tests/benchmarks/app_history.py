"""Measure the cost of a history of a million meta-steps: memory of the process, and the time to draw.

`python -m tests.benchmarks.app_history live` and `... read` measure in this process and print JSON.
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
from tests.benchmarks.app_terminal import SIZE, new_home, surroundings

FEW, MANY = 1_000, 1_000_000
LARGEST_GROWTH = 50 * 2**20
DRAINED = 500
"""Meta-steps between two drains of the queue, as at 1,000 a second."""


def measure() -> list[Figure]:
    live, read = _child("live"), _child("read")
    slower = live["draw_many"] / live["draw_few"]
    return [
        _memory("memory after 1,000,000 meta-steps, above that after 1,000", live["growth"]),
        Figure(
            "drawing curves and sparklines of 1,000,000, beside 1,000", "no slower",
            f"{1000 * live['draw_many']:.1f} ms, {1000 * live['draw_few']:.1f} ms ({slower:.2f} times)", slower <= 1.1,
        ),
        Figure("taking in one meta-step, in batches of 500", "", f"{1e6 * live['take']:.2f} µs"),
        _memory("reading a run of 1,000,000 from disk: memory kept", read["growth"]),
        _memory("the same: most memory on the way", read["peak"]),
        Figure("the same: processor time", "", f"{read['seconds']:.1f} s"),
    ]  # fmt: skip


def _memory(what: str, growth: float) -> Figure:
    return Figure(what, "50 MB", f"{growth / 1e6:.1f} MB", growth < LARGEST_GROWTH)


def _child(what: str) -> dict[str, float]:
    with new_home() as home:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.app_history", what],
            env=surroundings(home) | {"BENCHMARK_HOME": str(home)}, check=True, capture_output=True, text=True,
        )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found


def steps(first: int, last: int) -> Iterator[Progress]:
    """Yield meta-steps with noise in every number."""
    noise = random.Random(first)
    for iteration in range(first, last + 1):
        loss = 0.3 + 3 / (1 + iteration / 5000) + 0.2 * noise.random()
        yield Progress(iteration, loss, None, loss + 1, noise.random(), 0.001, 25 * iteration, iteration / 1000)


NOWHERE = RunFolder(Path("told"))


class _Told:
    """A session whose only events are meta-steps."""

    hello = Hello(protocol=1, run="run", pid=0, host="", phase="running", iteration=0, settings=Settings())

    def __init__(self, run: RunFolder, first: int, last: int) -> None:
        self.run = run
        self._range = first, last

    def __iter__(self) -> Iterator[Progress]:
        return steps(*self._range)

    def submit(self, command: object) -> None:
        pass

    def close(self) -> None:
        pass


def grown(model: RunModel, until: int) -> float:
    """Feed meta-steps up to `until` through the queue as the app does. Returns the seconds for each."""
    first, took = model.iteration + 1, 0.0
    while first <= until:
        client, last = RunClient(), min(until, first + DRAINED - 1)
        client.begin(lambda a=first, b=last: _Told(NOWHERE, a, b), model)  # type: ignore[misc]
        assert client.receiver
        client.receiver.over.wait()
        began = time.thread_time()
        client.drain()
        took += time.thread_time() - began
        first = last + 1
    return took / max(1, until)


async def live() -> dict[str, float]:
    """Pass meta-steps to an app of the usual size, without a terminal."""
    few, many = RunModel(Settings()), RunModel(Settings())
    app = make_app(settings=Settings(), runs_dir=Path(os.environ["BENCHMARK_HOME"]) / "runs")
    took: dict[str, list[float]] = {"few": [], "many": []}
    async with app.run_test(size=SIZE) as pilot:
        grown(few, FEW)
        grown(many, FEW)
        for model in (few, many):  # what is made once at the first drawing is no growth
            app.run_controller.shown = model
            app.run_controller.show_run()
            await pilot.pause()
        before = resident()
        take = grown(many, MANY)
        for _ in range(25):
            for name, model in (("few", few), ("many", many)):
                app.run_controller.shown = model
                began = time.thread_time()
                app.run_controller.show_run()
                took[name].append(time.thread_time() - began)
                await pilot.pause()
        growth = resident() - before
    return {
        "growth": growth,
        "take": take,
        "draw_few": statistics.median(took["few"]),
        "draw_many": statistics.median(took["many"]),
    }


def read() -> dict[str, float]:
    run = _run_on_disk(Path(os.environ["BENCHMARK_HOME"]) / "runs")
    Replay(run).run.status()  # imports what it needs
    before, began = resident(), time.thread_time()
    model = Replay(run).read()
    seconds = time.thread_time() - began
    assert model.iteration == MANY
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return {"growth": resident() - before, "peak": peak - before, "seconds": seconds}


def _run_on_disk(root: Path) -> RunFolder:
    """Write the run in a child process, so that its memory does not count here."""
    subprocess.run([sys.executable, "-m", "tests.benchmarks.app_history", "write", str(root)], check=True)
    (run,) = RunStore(root).runs()
    return run


def write_run(root: Path) -> None:
    writer = MetricsWriter(RunStore(root).create(Settings()).metrics_path, after=0)
    for step in steps(1, MANY):
        writer.append(step)
    writer.close()


def resident() -> int:
    """Return the resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["live"]:
            print(json.dumps(asyncio.run(live())))
        case ["read"]:
            print(json.dumps(read()))
        case ["write", folder]:
            write_run(Path(folder))
