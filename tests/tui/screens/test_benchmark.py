"""Tests of the benchmark screen with a fake benchmark."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from queue import Queue
from typing import Any, ClassVar

import pytest
from textual.pilot import Pilot

from metatui.learning.benchmark import rows
from metatui.learning.benchmark.runner import CellFigures, Machine, Measurement, Measuring, Ready, Report
from metatui.learning.benchmark.workloads import Cell, Workload, with_captured
from metatui.tui.app import MetatuiApp
from metatui.tui.screens.benchmark import plot, screen, widgets
from metatui.tui.screens.benchmark.screen import BenchmarkScreen
from metatui.tui.screens.benchmark.widgets import BenchmarkChart, BenchmarkTable
from metatui.tui.widgets.static_text import StaticText
from metatui.utils.errors import MetatuiError
from tests.tui.fakes import FakeSessions
from tests.tui.screens.conftest import ScreenApp, text_of
from tests.tui.sizes import SIZES

MACHINE = Machine(
    processor="a processor", device="cpu", device_name="a processor", memory_bytes=2**34, threads=2, torch="2.13.0",
    python="3.11.7", system="Linux", load=0.5, matmul_gflops=100.0, copy_gb_per_s=10.0,
)  # fmt: skip
FACTOR = {"batched": 1.0, "loop": 16.0, "higher": 21.0}
ENGINES = ("batched", "loop", "higher", "compiled")
CELLS = [
    Cell(Workload(task, algorithm, steps), engine)
    for task, engines in (("sinusoid", ENGINES), ("images", ENGINES[:-1]))
    for algorithm in ("maml", "reptile")
    for steps in (1, 5)
    for engine in engines
]
KILLED = "the process that was measuring it was killed, most likely because memory ran out"


def measurement(cell: Cell, error: str | None = None) -> Measurement:
    work = cell.work
    ms = {"sinusoid": 1.5, "images": 150.0}[work.task] * {"maml": 2.0, "fomaml": 1.2, "reptile": 1.0}[work.algorithm]
    ms *= work.inner_steps**0.7
    factor = FACTOR.get(cell.engine, 0.5) ** (1 if work.task == "sinusoid" else -0.2)
    measured = CellFigures(ms * factor, int(3e6 * ms**0.8), int(2e7 * ms), 1_000_000)
    return Measurement(cell, 25 if work.task == "sinusoid" else 4, MACHINE, None if error else measured, error)


class FakeBenchmark:
    """Fake benchmark. Tests call `emit` to send reports, or to end the benchmark with None or an exception."""

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
        """Report the first `count` cells as measured and the next cell as started, or the end if there is no next cell.

        Args:
            failing: index of the cell whose measurement fails. By default, no measurement fails.
        """
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
    for module in (plot, widgets):
        monkeypatch.setattr(module, "ENGINES", ENGINES)
    monkeypatch.setattr(screen, "POLL_SECONDS", 3600.0)


def bench_app(**options: Any) -> ScreenApp:
    return ScreenApp(BenchmarkScreen(lambda: False), **options)


async def opened_screen(pilot: Pilot[Any]) -> tuple[BenchmarkScreen, FakeBenchmark]:
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, BenchmarkScreen)
    return screen, FakeBenchmark.made[-1]


def state(screen: BenchmarkScreen) -> str:
    return text_of(screen, "#benchmark-state")


def row(table: BenchmarkTable, cell: Cell) -> list[str]:
    return [text.plain for text in table.get_row(rows.full_name(cell))]


async def test_the_table_fills_row_by_row() -> None:
    app = bench_app()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, measurer = await opened_screen(pilot)
        assert state(screen) == "Measuring the speed of arithmetic and memory."
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


async def test_captured_meta_steps_have_rows() -> None:
    app = bench_app()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, measurer = await opened_screen(pilot)
        measurer.cells = with_captured(CELLS)  # as on CUDA, once the machine is known
        await measurer.measure(pilot, 2)
        eager, captured, other = (row(screen.table, cell) for cell in measurer.cells[:3])
        assert eager[:3] == ["MAML, 1 step", "batched", "3.00"]
        assert captured[:3] == ["", "+ graph", "3.00"]
        assert other[:3] == ["", "loop", "…"]
        assert state(screen) == f"Measuring 3 of {len(measurer.cells)}: sinusoid, MAML, 1 step, loop."
        assert screen.table.row_count == len(measurer.cells) + 2


async def test_end() -> None:
    app = bench_app()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, measurer = await opened_screen(pilot)
        await measurer.measure(pilot, len(measurer.cells))
        assert state(screen) == f"All {len(measurer.cells)} measurements are done."
        assert screen.query_one("#benchmark").border_subtitle == "escape closes"
        await pilot.press("escape")
        assert not isinstance(app.screen, BenchmarkScreen)


async def test_the_reason_of_a_failure_is_shown_at_the_cursor() -> None:
    app = bench_app()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, measurer = await opened_screen(pilot)
        await measurer.measure(pilot, len(measurer.cells), failing=2)
        failed = measurer.cells[2]
        assert row(screen.table, failed) == ["", "higher", "failed", "-", "-", "-", "-", ""]
        assert KILLED not in state(screen)
        screen.table.move_cursor(row=3)
        await pilot.pause()
        assert state(screen) == (
            f"{len(measurer.cells) - 1} measured, 1 failed. sinusoid, MAML, 1 step, higher was not measured: {KILLED}."
        )


async def test_the_cursor_follows_until_it_is_moved() -> None:
    app = bench_app()
    async with app.run_test(size=(80, 24)) as pilot:
        screen, measurer = await opened_screen(pilot)
        await measurer.measure(pilot, 3)
        assert screen.table.cursor_row == 4
        await pilot.press("up", "up")
        await measurer.emit(pilot, measurement(measurer.cells[3]), Measuring(measurer.cells[4]))
        assert screen.table.cursor_row == 2


async def test_measuring_waits_for_the_run_to_end(make: Callable[[], MetatuiApp], sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f5")
        await pilot.pause()
        session = sessions.session
        assert session is not None
        await session.wait_until_shown(app, pilot)
        await pilot.press("f12")
        await pilot.pause()
        assert f"There are {len(CELLS)} measurements, which take at least 1 minute," in text_of(app.screen, StaticText)
        await pilot.press("n", "f12")
        await pilot.pause()
        assert not FakeBenchmark.made
        await pilot.press("y")
        screen, measurer = await opened_screen(pilot)
        assert "The benchmark starts when the run ends" in state(screen)
        screen.start()
        assert not any(worker.group == "analysis" for worker in app.workers)
        screen._training = lambda: False
        screen.start()
        await measurer.measure(pilot, 1)
        assert state(screen).startswith("Measuring 2 of")


async def test_escape_stops_the_benchmark() -> None:
    app = bench_app()
    async with app.run_test(size=(80, 24)) as pilot:
        _, measurer = await opened_screen(pilot)
        await measurer.measure(pilot, 1)
        await pilot.press("escape")
        await pilot.pause()
        assert measurer.stopped.is_set()
        assert await asyncio.to_thread(measurer.over.wait, 10)
        assert not isinstance(app.screen, BenchmarkScreen)


async def test_quitting_stops_the_benchmark() -> None:
    app = bench_app()
    async with app.run_test(size=(80, 24)) as pilot:
        _, measurer = await opened_screen(pilot)
        await measurer.measure(pilot, 1)
        app.exit()
    assert measurer.stopped.is_set()
    assert await asyncio.to_thread(measurer.over.wait, 10)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MetatuiError("there is no such device"), "Not measured: there is no such device."),
        (ZeroDivisionError("a bug"), "an internal error in metatui (ZeroDivisionError)"),
    ],
)
async def test_errors(error: Exception, message: str) -> None:
    app = bench_app()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, measurer = await opened_screen(pilot)
        await measurer.emit(pilot, error)
        assert await asyncio.to_thread(measurer.over.wait, 10)
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert message in state(screen)


async def test_resize() -> None:
    app = bench_app()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, measurer = await opened_screen(pilot)
        await pilot.resize_terminal(40, 10)
        await measurer.measure(pilot, 12)
        for size in ((80, 24), (20, 5), (200, 60), (1, 1), (120, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        assert screen.table.cursor_row == 13
        assert row(screen.table, measurer.cells[0])[2] == "3.00"


def filled(count: int, failing: int = -1) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def run(pilot: Pilot[Any]) -> None:
        _, measurer = await opened_screen(pilot)
        await measurer.measure(pilot, count, failing=failing)

    return run


@pytest.mark.parametrize("size", SIZES)
def test_half_way(snap_compare: Callable[..., bool], size: tuple[int, int]) -> None:
    assert snap_compare(bench_app(), terminal_size=size, run_before=filled(21, failing=18))


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark"])
def test_themes(snap_compare: Callable[..., bool], theme: str) -> None:
    assert snap_compare(bench_app(theme=theme), terminal_size=(120, 40), run_before=filled(12))


def test_ascii(snap_compare: Callable[..., bool]) -> None:
    assert snap_compare(bench_app(ascii=True), terminal_size=(80, 24), run_before=filled(12))
