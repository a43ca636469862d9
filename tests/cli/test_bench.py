"""Tests of `metatui bench`: JSON, table and plot, and error messages for bad input."""

from __future__ import annotations

import io
import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rich.console import Console

from metatui.cli import main
from metatui.cli.commands import bench
from metatui.cli.console import bench_table
from metatui.learning.benchmark import rows
from metatui.learning.benchmark.runner import CellFigures, Machine, Measurement, Measuring, Ready, Report
from metatui.learning.benchmark.workloads import Cell, cells, with_captured
from metatui.tui.screens.benchmark import plot
from metatui.tui.terminal.symbols import GLYPHS, Symbols
from metatui.utils import paths
from metatui.utils.errors import BadInput

MACHINE = Machine(
    processor="a processor", device="cpu", device_name="a processor", memory_bytes=2**34, threads=2, torch="2.13.0",
    python="3.11.7", system="Linux", load=0.5, matmul_gflops=100.0, copy_gb_per_s=10.0,
)  # fmt: skip
MS = {"batched": 8.0, "loop": 128.0, "higher": 160.0}
CELL_KEYS = {
    "task", "algorithm", "engine", "captured", "inner_steps", "tasks", "meta_steps_per_s", "tasks_per_s", "ms",
    "peak_memory_bytes", "flops", "bytes", "floor_ms", "fraction_of_floor", "error",
}  # fmt: skip


def measurement(cell: Cell, error: str | None = None) -> Measurement:
    measured = CellFigures(MS.get(cell.engine, 4.0) * cell.work.inner_steps, 3 * 2**20, 100_000_000, 1_000_000)
    return Measurement(cell, 25, MACHINE, None if error else measured, error)


class FakeBenchmark:
    """Fake benchmark that reports fixed measurements, and a failure for the engine `higher`."""

    asked: ClassVar[dict[str, Any]] = {}
    interrupt_after: ClassVar[int | None] = None

    def __init__(self, wanted: list[Cell], **asked: Any) -> None:
        self.cells, self.stopped = wanted, False
        type(self).asked = asked

    def __iter__(self) -> Iterator[Report]:
        yield Ready(MACHINE)
        for number, cell in enumerate(self.cells):
            yield Measuring(cell)
            if number == self.interrupt_after:
                os.kill(os.getpid(), signal.SIGINT)
            if self.stopped:
                return
            yield measurement(cell, "it failed" if cell.engine == "higher" else None)

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[FakeBenchmark]]:
    monkeypatch.setattr(bench, "Benchmark", FakeBenchmark)
    monkeypatch.setattr(paths, "log_file", lambda: tmp_path / "metatui.log")
    monkeypatch.setattr(FakeBenchmark, "interrupt_after", None)
    yield FakeBenchmark
    assert not (tmp_path / "metatui.log").exists()


def report(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main(["bench", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_json_has_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys)
    assert found["machine"]["torch"] == "2.13.0"
    assert found["rates"] == {"matmul_gflops": 100.0, "copy_gb_per_s": 10.0}
    named = [(c["task"], c["algorithm"], c["inner_steps"], c["engine"]) for c in found["cells"]]
    assert named == [(c.work.task, c.work.algorithm, c.work.inner_steps, c.engine) for c in cells()]
    assert all(set(cell) == CELL_KEYS for cell in found["cells"])
    first = found["cells"][0]
    assert (first["engine"], first["ms"], first["meta_steps_per_s"], first["tasks_per_s"]) == (
        "batched", 8.0, 125.0, 3125.0,
    )  # fmt: skip
    assert (first["floor_ms"], first["fraction_of_floor"]) == pytest.approx((1.0, 0.125))
    failed = next(cell for cell in found["cells"] if cell["engine"] == "higher")
    assert failed["error"] == "it failed"
    assert failed["ms"] is failed["flops"] is failed["peak_memory_bytes"] is failed["fraction_of_floor"] is None


def test_options_select_cells(capsys: pytest.CaptureFixture[str], fake: type[FakeBenchmark]) -> None:
    chosen = ("--task", "images", "--algorithm", "maml", "--algorithm", "reptile", "--engine", "loop")
    found = report(capsys, *chosen, "--seconds", "0.5", "--device", "cuda:1")
    assert [(c["algorithm"], c["inner_steps"]) for c in found["cells"]] == [
        ("maml", 1), ("maml", 5), ("reptile", 1), ("reptile", 5),
    ]  # fmt: skip
    assert {(c["task"], c["engine"]) for c in found["cells"]} == {("images", "loop")}
    assert fake.asked == {"device": "cuda:1", "seconds": 0.5}


def test_duration_is_said_at_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--task", "sinusoid", "--algorithm", "maml", "--seconds", "40"]) == 0
    first = capsys.readouterr().err.splitlines()[1]
    assert first.startswith("8 measurements, at least 5 min 20 s (longer")
    assert first.endswith("for each of the 2 measurements with the compiled engine, unless the compiled code is cached")
    assert main(["bench", "--task", "images", "--algorithm", "maml", "--engine", "loop", "--seconds", "0.5"]) == 0
    first = capsys.readouterr().err.splitlines()[1]
    assert first == "2 measurements, at least 1 s (longer for slow engines: at least 4 meta-steps each)"


def test_table_and_plot(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["bench"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("sinusoid: the fastest engine is compiled.\nimages: the fastest engine is ")
    assert max(map(len, out.splitlines())) <= 80
    for words in ("sinusoid: MLP 1-40-40-1", "images: conv4-64", "B batched", "higher was not measured: it failed",
                  "matmul 100 GFLOP/s, copy 10.0 GB/s"):  # fmt: skip
        assert words in " ".join(out.split())
    assert re.search(r"^MAML, 1 step +batched +8.00 +125 +3,125 +3.0 +12.5 % +━", out, re.MULTILINE)
    assert re.search(r"^ +higher +- +- +- +- +-\s*$", out, re.MULTILINE)
    assert "\x1b" not in out + err
    assert "sinusoid, MAML, 1 step, batched: 8.00 ms, 125 meta-steps/s" in err
    assert "sinusoid, MAML, 1 step, higher was not measured: it failed" in err


def test_captured_meta_steps_in_table_and_plot(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "cells", lambda *_: with_captured(cells(["sinusoid"], ["maml"], ["batched"])))
    assert main(["bench"]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"^MAML, 5 steps +batched .*\n +\+ graph ", out, re.MULTILINE)
    assert re.search(r"B batched  b \+ graph$", out, re.MULTILINE)
    assert re.search(r"^ MAML, 1 step .*Bb", out, re.MULTILINE)
    assert "+ graph: each meta-step is one CUDA graph" in out
    assert "sinusoid, MAML, 1 step, batched with CUDA graph: 8.00 ms" in err
    assert [cell["captured"] for cell in report(capsys)["cells"]] == [False, True, False, True]


def test_figures_of_a_busy_machine_have_a_warning() -> None:
    cell = cells()[0]
    idle, busy = MACHINE, replace(MACHINE, load=1.25)
    assert rows.describe_machine(idle).endswith("copy 10.0 GB/s, float32")
    assert rows.describe_machine(busy).endswith("float32; busy with other work (load 1.2)")
    assert rows.floor_warning([measurement(cell), measurement(cell, "it failed")]) == ""
    beaten = replace(measurement(cell), machine=replace(MACHINE, matmul_gflops=1.0))
    assert "faster than the floor" in rows.floor_warning([measurement(cell), beaten])


def test_ascii_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--ascii"]) == 0
    assert capsys.readouterr().out.isascii()


@pytest.mark.parametrize(("width", "colours"), [(30, True), (40, True), (80, True), (80, False), (200, True)])
def test_report_fits_every_width(width: int, colours: bool) -> None:
    screen = Console(file=io.StringIO(), width=width, force_terminal=True, no_color=not colours)
    bench_table.show([measurement(cell) for cell in cells()], screen, ascii_only=False)
    assert isinstance(screen.file, io.StringIO)
    text = screen.file.getvalue()
    assert ("\x1b[36m" in text) is (colours and width > 30)
    assert "meta-steps/s" in " ".join(text.split()) or width > 60
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines())) <= width


def test_interrupt_keeps_measured_cells(capsys: pytest.CaptureFixture[str], fake: type[FakeBenchmark]) -> None:
    fake.interrupt_after = 2
    found = report(capsys, code=130)
    assert [cell["engine"] for cell in found["cells"]] == [cell.engine for cell in cells()[:2]]
    assert main(["bench"]) == 130
    out, _ = capsys.readouterr()
    assert "MAML, 1 step" in out
    assert "images" not in out
    fake.interrupt_after = 0
    assert report(capsys, code=130)["cells"] == []
    assert main(["bench"]) == 130
    assert capsys.readouterr().out == ""


def test_nothing_measured_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--engine", "higher"]) == 1
    out, err = capsys.readouterr()
    assert "was not measured" in out
    assert err.splitlines()[-1] == "metatui: every measurement failed: the output contains the reasons"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seconds", "0"], "--seconds is 0, but must be above 0 and at most 3,600"),
        (["--seconds", "nan"], "--seconds is nan"),
        (["--seconds", "soon"], "'soon' is not a valid float"),
        (["--task", "omniglot"], "'omniglot' is not one of 'sinusoid', 'images'"),
        (["--algorithm", "anil"], "'anil' is not one of 'maml', 'fomaml', 'reptile'"),
        (["--engine", "auto"], "'auto' is not one of"),
        (["--device", "tpu"], "compute.device is 'tpu', but must be auto, cpu, cuda, cuda:N"),
        (["more"], "unexpected extra argument"),
    ],
)
def test_bad_values_are_one_sentence(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(["bench", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("metatui: ")
    assert err.count("\n") == 1
    assert message in err


def test_unsuitable_engine_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "cells", lambda *_: [])
    assert main(["bench", "--engine", "loop", "--engine", "higher"]) == 2
    message = "--engine is loop and higher, but must name an engine that supports the given --task and --algorithm"
    assert capsys.readouterr() == ("", f"metatui: {message}\n")


def test_missing_device_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fake: type[FakeBenchmark]
) -> None:
    def nowhere(self: FakeBenchmark) -> Iterator[Report]:
        raise BadInput("compute.device is 'cuda:9', but the available devices are cpu")
        yield

    monkeypatch.setattr(fake, "__iter__", nowhere)
    assert main(["bench", "--device", "cuda:9"]) == 2
    assert capsys.readouterr() == ("", "metatui: compute.device is 'cuda:9', but the available devices are cpu\n")


def test_real_benchmark(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from metatui.learning.benchmark.runner import Benchmark

    monkeypatch.setattr(bench, "Benchmark", Benchmark)
    monkeypatch.setattr(bench, "cells", lambda *chosen: cells(*chosen)[:1])
    found = report(
        capsys, "--task", "sinusoid", "--algorithm", "fomaml", "--engine", "batched", "--seconds", "0.01",
        "--device", "cpu",
    )  # fmt: skip
    assert [cell["error"] for cell in found["cells"]] == [None]
    assert found["machine"]["device"] == "cpu"
    assert min(found["rates"].values()) > 0
    for cell in found["cells"]:
        assert cell["tasks_per_s"] == pytest.approx(25 * cell["meta_steps_per_s"])
        assert cell["meta_steps_per_s"] == pytest.approx(1000 / cell["ms"])
        assert cell["fraction_of_floor"] == pytest.approx(cell["floor_ms"] / cell["ms"])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01234, "0.0123"), (0.5, "0.500"), (8, "8.00"), (128, "128"), (999.4, "999"), (1234.5, "1,234"), (None, "-")],
)
def test_figures_have_three_digits(value: float | None, text: str) -> None:
    assert rows.figure(value) == text


def test_plot_marks_match_the_axis() -> None:
    found = [measurement(cell) for cell in cells(tasks=["sinusoid"], algorithms=["maml"])]
    drawn = ["".join(piece.text for piece in row) for row in plot.plot(found, 78, GLYPHS[Symbols.BRAILLE])]
    *lines, axis, numbers = drawn
    assert [line[:13].rstrip() for line in lines] == ["MAML, 1 step", "MAML, 5 steps"]
    whole = [number for number in re.finditer(r"[\d,.]+", numbers) if number.end() < len(numbers)]
    tick = {float(number[0]): number.start() + len(number[0]) // 2 for number in whole}
    assert all(axis[at] == "┬" for at in tick.values())
    one, five = lines
    assert one.index("│") == tick[1]  # the floor of 1 ms
    assert tick[5] < one.index("B") < tick[10]
    assert five.index("H") > five.rindex("L") > tick[500]
    assert [mark for mark in five.removeprefix("MAML") if mark in "CBLH"] == ["C", "B", "L", "H"]


def test_equally_fast_engines_are_plotted_side_by_side() -> None:
    found = [measurement(cell) for cell in cells(tasks=["sinusoid"], algorithms=["reptile"])]
    equal = [Measurement(each.cell, 25, MACHINE, CellFigures(8.0, None, 1, 1)) for each in found]
    first = "".join(piece.text for piece in plot.plot(equal, 60, GLYPHS[Symbols.ASCII])[0])
    assert set("BLH") <= set(first.replace(rows.name(equal[0].cell.work), ""))


def test_plot_without_measurements_is_empty() -> None:
    failed = [measurement(cells()[0], "it failed")]
    assert plot.plot(failed, 80, GLYPHS[Symbols.BRAILLE]) == []
    assert plot.plot([], 80, GLYPHS[Symbols.BRAILLE]) == []
    assert plot.plot([measurement(cells()[0])], 30, GLYPHS[Symbols.BRAILLE]) == []


def test_engine_letters_are_unique() -> None:
    letters = plot.marks().values()
    assert len(set(letters)) == len(letters)
    assert "?" not in letters
