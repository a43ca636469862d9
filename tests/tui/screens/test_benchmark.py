"""The benchmark's screen, with a measurer that measures what a test tells it to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from queue import Queue
from typing import Any, ClassVar

import pytest
from textual.pilot import Pilot

from metatui.config.settings import Settings
from metatui.learning.benchmark import (
    Cell,
    Machine,
    Measured,
    Measurement,
    Measuring,
    Ready,
    Report,
    Workload,
    with_captured,
)
from metatui.tui.app import MetatuiApp
from metatui.tui.screens.benchmark import chart, plot, rows, screen, table
from metatui.tui.screens.benchmark.chart import BenchmarkChart
from metatui.tui.screens.benchmark.screen import BenchmarkScreen
from metatui.tui.screens.benchmark.table import BenchmarkTable
from metatui.utils.errors import MetatuiError
from tests.tui.fakes import FakeSessions, started

SIZES = [(80, 24), (120, 40), (200, 60)]
Make = Callable[..., MetatuiApp]
Compare = Callable[..., bool]

MACHINE = Machine(
    processor="a processor", device="cpu", device_name="a processor", memory_bytes=2**34, threads=2, torch="2.13.0",
    python="3.11.7", system="Linux", load=0.5, matmul_gflops=100.0, copy_gb_per_s=10.0,
)  # fmt: skip
FACTOR = {"batched": 1.0, "loop": 16.0, "higher": 21.0}
ENGINES = ("batched", "loop", "higher", "compiled")
CELLS = [
    Cell(Workload(task, algorithm, steps), engine)
    for task, engines in (("sinusoid", ENGINES), ("images", ENGINES[:-1]))
    for algorithm in ("maml", "fomaml", "reptile")
    for steps in (1, 5)
    for engine in engines
]
KILLED = "the process that measured it was killed, most likely because memory ran out"


def measurement(cell: Cell, error: str | None = None) -> Measurement:
    work = cell.work
    ms = {"sinusoid": 1.5, "images": 150.0}[work.task] * {"maml": 2.0, "fomaml": 1.2, "reptile": 1.0}[work.algorithm]
    ms *= work.inner_steps**0.7
    factor = FACTOR.get(cell.engine, 0.5) ** (1 if work.task == "sinusoid" else -0.2)
    measured = Measured(ms * factor, int(3e6 * ms**0.8), int(2e7 * ms), 1_000_000)
    return Measurement(cell, 25 if work.task == "sinusoid" else 4, MACHINE, None if error else measured, error)


class FakeBenchmark:
    """Iterated in a thread of the screen's; fed by the test with `emit`, ended by it with None or an exception."""

    made: ClassVar[list[FakeBenchmark]] = []

    def __init__(self, wanted: list[Cell], *, niceness: int) -> None:
        assert niceness == 10
        self.cells = wanted
        self.stopped = threading.Event()
        self.over = threading.Event()
        self._reports: Queue[Report | Exception | None] = Queue()
        self.made.append(self)

    def __iter__(self) -> Iterator[Report]:
        try:
            while (report := self._reports.get()) is not None:
                if isinstance(report, Exception):
                    raise report
                yield report
                self._reports.task_done()
        finally:
            self.over.set()
            self._reports.task_done()

    def stop(self) -> None:
        self.stopped.set()
        self._reports.put(None)

    async def emit(self, pilot: Pilot[Any], *reports: Report | Exception | None) -> None:
        for report in reports:
            self._reports.put(report)
        await asyncio.to_thread(self._reports.join)
        await pilot.pause()

    async def measure(self, pilot: Pilot[Any], count: int, *, failing: int = -1) -> None:
        """Measure the first `count` cells, and begin with the next."""
        reports: list[Report | None] = [Ready(MACHINE)]
        for number, cell in enumerate(self.cells[:count]):
            reports += [Measuring(cell), measurement(cell, KILLED if number == failing else None)]
        reports.append(Measuring(self.cells[count]) if count < len(self.cells) else None)
        await self.emit(pilot, *reports)


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeBenchmark.made.clear()
    monkeypatch.setattr(screen, "Benchmark", FakeBenchmark)
    monkeypatch.setattr(screen, "cells", lambda: CELLS)
    for module in (plot, table, chart):
        monkeypatch.setattr(module, "ENGINES", ENGINES)
    monkeypatch.setattr(screen, "LOOK_EVERY", 3600.0)
    monkeypatch.setattr("metatui.tui.controllers.run.SAMPLE_EVERY", 3600.0)


async def opened(pilot: Pilot[Any]) -> tuple[BenchmarkScreen, FakeBenchmark]:
    await pilot.press("f12")
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, BenchmarkScreen)
    return screen, FakeBenchmark.made[-1]


def state(screen: BenchmarkScreen) -> str:
    return " ".join(text_of(screen, "#benchmark-state").split())


def text_of(screen: BenchmarkScreen, name: str) -> str:
    """What a widget shows."""
    widget = screen.query_one(name)
    return "\n".join(widget.render_line(y).text for y in range(widget.size.height))


def row(table: BenchmarkTable, cell: Cell) -> list[str]:
    return [text.plain for text in table.get_row(rows.called(cell))]


async def test_the_table_fills_row_by_row(make: Make) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, measurer = await opened(pilot)
        assert state(screen) == "Measuring what the machine can do."
        await measurer.measure(pilot, 2)
        assert "matmul 100 GFLOP/s" in text_of(screen, "#benchmark-machine")
        first, second, third = (row(screen.table, cell) for cell in measurer.cells[:3])
        assert first[:5] == ["MAML, 1 step", "batched", "3.00", "333", "8,333"]
        assert second[:3] == ["", "loop", "48.0"]
        assert third == ["", "higher", "…", "", "", "", "", ""]
        assert len(first[-1]) > 8 * len(second[-1]) > 0
        assert state(screen) == f"Measuring 3 of {len(CELLS)}: sinusoid, MAML, 1 step, higher."
        chart = screen.query_one(BenchmarkChart)
        assert chart.border_title == " sinusoid: MLP 1-40-40-1, 25 tasks, K = 10, Q = 10 "


async def test_captured_meta_steps_have_rows(make: Make) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, measurer = await opened(pilot)
        measurer.cells = with_captured(CELLS)  # as on CUDA, which is known when the machine is
        await measurer.measure(pilot, 2)
        eager, captured, other = (row(screen.table, cell) for cell in measurer.cells[:3])
        assert eager[:3] == ["MAML, 1 step", "batched", "3.00"]
        assert captured[:3] == ["", "+ graph", "3.00"]
        assert other[:3] == ["", "loop", "…"]
        assert state(screen) == f"Measuring 3 of {len(measurer.cells)}: sinusoid, MAML, 1 step, loop."
        assert screen.table.row_count == len(measurer.cells) + 2


async def test_the_end_is_said(make: Make) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, measurer = await opened(pilot)
        await measurer.measure(pilot, len(measurer.cells))
        assert state(screen) == f"All {len(measurer.cells)} measured."
        assert screen.query_one("#benchmark").border_subtitle == "escape closes"
        await pilot.press("escape")
        assert not isinstance(app.screen, BenchmarkScreen)


async def test_a_cell_that_failed_says_why_where_the_cursor_is(make: Make) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, measurer = await opened(pilot)
        await measurer.measure(pilot, len(measurer.cells), failing=2)
        failed = measurer.cells[2]
        assert row(screen.table, failed) == ["", "higher", "failed", "-", "-", "-", "-", ""]
        assert KILLED not in state(screen)
        screen.table.move_cursor(row=3)
        await pilot.pause()
        assert state(screen) == (
            f"{len(measurer.cells) - 1} measured, 1 failed. sinusoid, MAML, 1 step, higher was not measured: {KILLED}."
        )


async def test_the_cursor_follows_until_it_is_moved(make: Make) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        screen, measurer = await opened(pilot)
        await measurer.measure(pilot, 3)
        assert screen.table.cursor_row == 4
        await pilot.press("up", "up")
        await measurer.emit(pilot, measurement(measurer.cells[3]), Measuring(measurer.cells[4]))
        assert screen.table.cursor_row == 2


async def test_nothing_is_measured_beside_a_training(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f5")
        await pilot.pause()
        session = sessions.session
        assert session is not None
        await session.heard(app, pilot)
        screen, measurer = await opened(pilot)
        assert "measuring begins when it is over" in state(screen)
        screen.begin()
        assert not any(worker.group == "benchmark" for worker in app.workers)
        session.end(started(Settings()))
        await session.over(app, pilot)
        screen.begin()
        await measurer.measure(pilot, 1)
        assert state(screen).startswith("Measuring 2 of")


async def test_escape_ends_it(make: Make) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        _, measurer = await opened(pilot)
        await measurer.measure(pilot, 1)
        await pilot.press("escape")
        await pilot.pause()
        assert measurer.stopped.is_set()
        assert await asyncio.to_thread(measurer.over.wait, 10)
        assert not isinstance(app.screen, BenchmarkScreen)
        _, another = await opened(pilot)
        assert another is not measurer


async def test_quitting_ends_it(make: Make) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        _, measurer = await opened(pilot)
        await measurer.measure(pilot, 1)
        app.exit()
    assert measurer.stopped.is_set()
    assert await asyncio.to_thread(measurer.over.wait, 10)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MetatuiError("there is no such device"), "Not measured: there is no such device."),
        (ZeroDivisionError("a bug"), "an error in metatui itself ended it (ZeroDivisionError)"),
    ],
)
async def test_errors_are_said(make: Make, error: Exception, said: str) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, measurer = await opened(pilot)
        await measurer.emit(pilot, error)
        assert await asyncio.to_thread(measurer.over.wait, 10)
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert said in state(screen)


async def test_resize_at_any_moment(make: Make) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, measurer = await opened(pilot)
        await pilot.resize_terminal(40, 10)
        await measurer.measure(pilot, 20)
        for size in ((80, 24), (20, 5), (200, 60), (1, 1), (120, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        assert screen.table.cursor_row == 21
        assert row(screen.table, measurer.cells[0])[2] == "3.00"


def filled(count: int, failing: int = -1) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def run(pilot: Pilot[Any]) -> None:
        _, measurer = await opened(pilot)
        await measurer.measure(pilot, count, failing=failing)

    return run


@pytest.mark.parametrize("size", SIZES)
def test_half_way(make: Make, snap_compare: Compare, size: tuple[int, int]) -> None:
    assert snap_compare(make(), terminal_size=size, run_before=filled(33, failing=26))


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark"])
def test_themes(make: Make, snap_compare: Compare, theme: str) -> None:
    assert snap_compare(make(theme=theme), terminal_size=(120, 40), run_before=filled(12))


def test_ascii(make: Make, snap_compare: Compare) -> None:
    assert snap_compare(make(ascii=True), terminal_size=(80, 24), run_before=filled(12))
