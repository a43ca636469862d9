"""Tests of the benchmark: time measurements, operation counts, and isolation of benchmark cells that fail."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from metatui.config.settings import Settings
from metatui.learning.benchmark import child, measurement, timing
from metatui.learning.benchmark.flops import count
from metatui.learning.benchmark.measurement import Timing, measure
from metatui.learning.benchmark.runner import Benchmark, CellFigures, Machine, Measurement, Measuring, Ready
from metatui.learning.benchmark.workloads import (
    ALGORITHMS,
    ENGINES,
    OF_CONVOLUTIONS,
    TASKS,
    Cell,
    Workload,
    cells,
    describe_task,
    with_captured,
)
from metatui.learning.data.episodes import Episodes, Split
from metatui.learning.data.glyphs.source import GlyphSource
from metatui.learning.training.learner import METRIC_QUERIES_PER_CLASS
from metatui.utils import child_process, paths
from metatui.utils.errors import BadInput, MetatuiError, SettingsError

CPU = torch.device("cpu")
MACHINE = Machine(
    processor="a processor", device="cpu", device_name="a processor", memory_bytes=2**34, threads=2, torch="2",
    python="3", system="Linux", load=0.5, matmul_gflops=100.0, copy_gb_per_s=10.0,
)  # fmt: skip
MEASURED = CellFigures(ms=8.0, peak_memory_bytes=2**20, flops=200_000_000, bytes=40_000_000)
REPTILE, MAML = Workload("sinusoid", "reptile", 1), Workload("sinusoid", "maml", 1)
PARAMETERS = 40 + 40 + 40 * 40 + 40 + 40 + 1


def test_every_allowed_engine_is_measured() -> None:
    found = cells()
    assert {cell.work.task for cell in found} == set(TASKS)
    assert {cell.work.algorithm for cell in found} == set(ALGORITHMS)
    assert {cell.engine for cell in found} == set(ENGINES)
    assert len(set(found)) == len(found)
    for work in {cell.work for cell in found}:
        for engine in ENGINES:
            if Cell(work, engine) in found:
                assert work.settings(engine).compute.engine == engine
            elif engine not in OF_CONVOLUTIONS or work.task == "images":
                with pytest.raises(SettingsError):
                    work.settings(engine)


def test_cells_can_be_chosen_and_keep_their_order() -> None:
    chosen = cells(tasks=["sinusoid"], algorithms=["reptile", "maml"], engines=["loop"])
    assert chosen == [
        Cell(Workload("sinusoid", name, steps), "loop") for name in ("maml", "reptile") for steps in (1, 5)
    ]  # fmt: skip
    assert cells(tasks=["sinusoid"], engines=[]) == []


def test_captured_cells_follow_eager_ones() -> None:
    eager = cells(tasks=["images"], engines=["batched", "higher", "native"])
    both = with_captured(eager)
    assert [cell for cell in both if not cell.captured] == eager
    captured = [(cell.work.algorithm, cell.engine) for cell in both if cell.captured]
    assert captured == [(name, "batched") for name in ("maml", "fomaml") for _ in (1, 5)]
    for before, cell in pairwise(both):
        assert not cell.captured or before == replace(cell, captured=False)


def test_tasks_are_described() -> None:
    assert describe_task("sinusoid") == "MLP 1-40-40-1, 25 tasks, K = 10, Q = 10"
    assert describe_task("images") == "conv4-64 on glyphs, 4 tasks, 5-way 1-shot, 15 queries per class"


def test_flops_of_a_perceptron() -> None:
    forward = 10 * 2 * (1 * 40 + 40 * 40 + 40 * 1)
    weights = forward
    inputs = 10 * 2 * (40 * 40 + 40 * 1)  # the first layer's input needs no gradient
    gradient = forward + weights + inputs
    assert count(REPTILE).flops == 25 * (gradient + forward)
    assert count(Workload("sinusoid", "fomaml", 1)).flops == 25 * 2 * gradient
    assert count(Workload("sinusoid", "fomaml", 5)).flops == 25 * 6 * gradient
    # The double backward of a product takes four products (one if the input is data), and the forward pass is
    # differentiated too.
    again = 4 * inputs + 10 * 2 * 40 + weights + inputs
    assert count(MAML).flops == 25 * (2 * gradient + again)
    assert count(Workload("sinusoid", "maml", 5)).flops == 25 * (6 * gradient + 5 * again)


def test_flops_of_convolutions() -> None:
    def block(channels: int, side: int) -> int:
        return 2 * channels * 64 * 9 * side * side

    first, others, head = block(1, 28), block(64, 14) + block(64, 7) + block(64, 3), 2 * 64 * 5
    forward = first + others + head
    gradient = forward + forward + others + head
    support, query = 5, 75
    judged = 5 * METRIC_QUERIES_PER_CLASS
    assert count(Workload("images", "reptile", 1)).flops == 4 * (support * gradient + judged * forward)
    fomaml = count(Workload("images", "fomaml", 1)).flops
    assert fomaml == 4 * (support + query) * gradient
    # The same for convolutions, except that torch computes two if the input is data, and needs one. Sums in the
    # double backward of batch norm are small matrix products.
    again = 4 * (others + head) + 2 * first + (gradient - forward)
    assert count(Workload("images", "maml", 1)).flops == pytest.approx(fomaml + 4 * support * again, rel=1e-3)


def test_bytes_of_a_perceptron() -> None:
    parameters, data = 4 * PARAMETERS, 4 * (4 * 10)
    layers = 4 * 10 * (4 * 40 + 1)
    for algorithm, passes in (("reptile", 2 + 1), ("fomaml", 2 + 2), ("maml", 4 + 2)):
        expected = 25 * (passes * (parameters + layers) + data) + 2 * parameters
        assert count(Workload("sinusoid", algorithm, 1)).bytes == expected


def test_bytes_of_images() -> None:
    reptile, fomaml = (count(Workload("images", name, 1)).bytes for name in ("reptile", "fomaml"))
    parameters = 4 * (9 * 64 + 3 * 9 * 64 * 64 + 4 * 2 * 64 + 64 * 5 + 5)
    sizes = (28, 14, 14, 7, 7, 3, 3, 1)  # before and after each pooling
    layers = 4 * (2 * 64 * sum(size * size for size in sizes) + 5)  # convolution, norm; pooling, ReLU; and the head
    data = (5 + 75) * (4 * 28 * 28 + 8)
    once = parameters + 5 * layers
    assert fomaml == 4 * (2 * once + 2 * (parameters + 75 * layers) + data) + 2 * parameters
    data = (5 + 5 * METRIC_QUERIES_PER_CLASS) * (4 * 28 * 28 + 8)
    assert reptile == 4 * (2 * once + parameters + 5 * METRIC_QUERIES_PER_CLASS * layers + data) + 2 * parameters


def test_the_floor_is_the_longer_of_arithmetic_and_traffic() -> None:
    cell = Cell(MAML, "batched")
    found = Measurement(cell, tasks=25, machine=MACHINE, measured=MEASURED)
    assert (found.meta_steps_per_s, found.tasks_per_s) == (125.0, 3125.0)
    assert found.floor_ms == pytest.approx(4.0)  # 40 MB at 10 GB/s, against 2 ms of arithmetic
    assert found.fraction_of_floor == pytest.approx(0.5)
    failed = Measurement(cell, tasks=25, machine=MACHINE, error="it failed")
    assert (failed.ms, failed.tasks_per_s, failed.floor_ms, failed.fraction_of_floor) == (None,) * 4


@pytest.mark.parametrize("engine", ["batched", "loop", "higher"])
def test_meta_steps_are_measured(engine: str) -> None:
    took = measure(MAML.settings(engine, "cpu"), seconds=0.01)
    assert took.ms > 0
    assert took.peak_memory_bytes is not None


def test_tasks_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Sequence[int]] = []
    draw = GlyphSource.episodes

    def episodes(source: GlyphSource, split: Split, tasks: Sequence[int], **protocol: int) -> Episodes:
        drawn.append(tasks)
        return draw(source, split, tasks, **protocol)

    monkeypatch.setattr(GlyphSource, "episodes", episodes)
    measure(Workload("images", "reptile", 1).settings("loop", "cpu"), seconds=0.01)
    assert drawn == [range(4)]


@pytest.mark.parametrize(
    ("printed", "said"), [("there is no C++ compiler", "there is no C++ compiler"), ("", "the compiler ended")]
)
def test_compiler_failure_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, printed: str, said: str) -> None:
    code = (
        "import sys; from metatui.utils.child_process import Channel; channel = Channel.of_child(); "
        "assert channel.receive()['compute']['engine'] == 'compiled'; "
        "sys.argv[2] and channel.send({'error': sys.argv[2]})"
    )
    replace_child(monkeypatch, code, printed)
    monkeypatch.setattr(paths, "compiled_dir", lambda: tmp_path)
    with pytest.raises(MetatuiError, match=re.escape(said)):
        measure(MAML.settings("compiled", "cpu"), seconds=0.01)


class FakeTime:
    """A fake of the module `time`, whose clock is set by the test."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.mark.parametrize(("takes", "readings"), [(0.004, 50), (0.2, 5), (3.0, 3)])
def test_number_of_clock_readings(monkeypatch: pytest.MonkeyPatch, takes: float, readings: int) -> None:
    fake, calls, queued = FakeTime(), 0, 0.0

    def call() -> None:
        nonlocal calls, queued
        calls += 1
        assert calls < 1000, "the clock does not advance"
        queued += takes

    def synchronize(device: torch.device) -> None:
        nonlocal queued
        fake.now, queued = fake.now + queued, 0.0

    monkeypatch.setattr(timing, "time", fake)
    monkeypatch.setattr(timing, "synchronize", synchronize)
    found = timing.seconds_of(call, CPU, spend=1.0)
    assert found == pytest.approx([takes] * len(found))
    assert readings <= len(found) <= 1.3 * readings
    assert calls * takes <= max(0.3 + 1.0 + 3 * takes, 4 * takes) + 0.02


def test_median_time_and_peak_memory_of_a_meta_step(monkeypatch: pytest.MonkeyPatch) -> None:
    class Peak:
        def __init__(self, device: str, *, over_current: bool) -> None:
            self.given = (device, over_current)

        def bytes(self) -> int:
            return 7 if self.given == ("cpu", True) else 0

    monkeypatch.setattr(timing, "seconds_of", lambda call, device, spend: [0.5, 0.25, 0.125])
    monkeypatch.setattr(measurement, "PeakMemory", Peak)
    assert measure(MAML.settings("batched", "cpu"), seconds=0.01) == Timing(250.0, 7)


def test_rates_are_the_best_of_several_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def seconds_of(call: Callable[[], torch.Tensor], device: torch.device, *, spend: float) -> list[float]:
        sizes.append(call().nbytes)
        return [0.5, 0.001 * len(sizes)]

    monkeypatch.setattr(timing, "seconds_of", seconds_of)
    monkeypatch.setattr(timing, "MATRICES", (256, 512))
    assert timing.matmul_rate(CPU, torch.float32) == 2 * 512**3 / 0.002
    assert sizes == [4 * 256**2, 4 * 512**2]
    sizes.clear()
    monkeypatch.setattr(timing, "COPIES", (1024, 1536))
    assert timing.copy_rate(CPU) == 2 * 1024 / 0.001
    assert sizes == [1024, 1536]


def test_slow_matrix_sizes_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "seconds_of", lambda call, device, spend: [spend])
    assert timing.matmul_rate(CPU, torch.float32) == 2 * 256**3 / timing.SECONDS_PER_SIZE


REQUEST = {"what": "cell", "task": "sinusoid", "algorithm": "reptile", "inner_steps": 1, "engine": "batched",
           "captured": False, "device": "cpu", "seconds": 0.01}  # fmt: skip


def test_child_answers_with_a_cell() -> None:
    found = CellFigures(**child.answer(REQUEST))
    assert found.ms > 0
    assert (found.flops, found.bytes) == (count(REPTILE).flops, count(REPTILE).bytes)


@pytest.mark.parametrize("captured", [False, True])
def test_captured_cells_are_measured_with_cuda_graphs(captured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def measured(settings: Settings, seconds: float) -> Timing:
        asked.append(settings.compute.cuda_graphs)
        return Timing(1.0, None)

    monkeypatch.setattr(child, "measure", measured)
    assert "error" not in child.answer({**REQUEST, "algorithm": "maml", "captured": captured})
    assert asked == [captured]


def test_child_answers_with_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = child.answer({"what": "machine", "device": "cuda:999"})
    assert nowhere["bad_input"]
    assert "compute.device is 'cuda:999'" in nowhere["error"]

    def broken(*_: object) -> None:
        raise RuntimeError("no room\n  in line 3")

    monkeypatch.setattr(child, "measure", broken)
    assert child.answer(REQUEST) == {"error": "it failed (RuntimeError: no room)"}


CHILD = """
import json, os, sys
from metatui.utils.child_process import Channel
assert os.getsid(0) == os.getpid()
machine, measured = json.loads(sys.argv[2]), json.loads(sys.argv[3])
channel = Channel.of_child()
while request := channel.receive():
    engine = request.get("engine")
    if request["what"] == "machine":
        found = {"error": "there is no such device", "bad_input": True} if request["device"] == "mps" else machine
    elif engine == "loop":
        os.kill(os.getpid(), 9)
    elif engine == "higher":
        sys.exit(7)
    elif engine == "compiled":
        found = {"error": "it does not compile"}
    else:
        found = {**measured, "ms": os.getpid()}
    channel.send(found)
"""


def replace_child(monkeypatch: pytest.MonkeyPatch, code: str, *arguments: str) -> None:
    """Make child processes run `code`, with the handle of their channel and `arguments` as command-line arguments."""
    monkeypatch.setattr(
        child_process, "command", lambda module, handle, *_: [sys.executable, "-c", code, str(handle), *arguments]
    )


@pytest.fixture
def fake_child(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, measured = json.dumps(asdict(MACHINE)), json.dumps(asdict(MEASURED))
    replace_child(monkeypatch, CHILD, machine, measured)


def alive(pid: float) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.usefixtures("fake_child")
def test_dying_cell_does_not_affect_others() -> None:
    wanted = [Cell(MAML, engine) for engine in ("batched", "loop", "batched", "higher", "compiled", "batched")]
    reports = list(Benchmark(wanted))
    assert reports[0] == Ready(MACHINE)
    assert [report.cell for report in reports if isinstance(report, Measuring)] == wanted
    found = [report for report in reports if isinstance(report, Measurement)]
    assert [each.cell for each in found] == wanted
    assert [each.error for each in found] == [
        None,
        "the process that was measuring it was killed, most likely because memory ran out",
        None,
        "the process that was measuring it ended with exit code 7",
        "it does not compile",
        None,
    ]
    pids = {each.measured.ms for each in found if each.measured}
    assert len(pids) == 3
    assert not any(map(alive, pids))
    assert {each.tasks for each in found} == {25}


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_captured_meta_steps_are_measured_on_cuda(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    machine, measured = json.dumps(asdict(replace(MACHINE, device=device))), json.dumps(asdict(MEASURED))
    replace_child(monkeypatch, CHILD, machine, measured)
    benchmark = Benchmark([Cell(MAML, "batched"), Cell(REPTILE, "batched")])
    reports = iter(benchmark)
    assert isinstance(next(reports), Ready)
    wanted = [Cell(MAML, "batched"), Cell(MAML, "batched", captured=True), Cell(REPTILE, "batched")]
    assert benchmark.cells == [cell for cell in wanted if device != "cpu" or not cell.captured]
    found = [report for report in reports if isinstance(report, Measurement)]
    assert [each.cell for each in found] == benchmark.cells
    assert not any(each.error for each in found)


@pytest.mark.usefixtures("fake_child")
def test_children_end_when_iteration_is_abandoned() -> None:
    reports = iter(Benchmark([Cell(MAML, "batched")] * 3))
    pid = next(report.measured.ms for report in reports if isinstance(report, Measurement) and report.measured)
    assert alive(pid)
    reports.close()
    assert not alive(pid)


@pytest.mark.usefixtures("fake_child")
@pytest.mark.parametrize("after", [Ready, Measuring, Measurement])
def test_stop_ends_at_once(after: type) -> None:
    benchmark, reports = Benchmark([Cell(MAML, "batched")] * 3), []
    for report in benchmark:
        reports.append(report)
        if isinstance(report, after):
            benchmark.stop()
    assert isinstance(reports[-1], after)
    assert len(reports) == [Ready, Measuring, Measurement].index(after) + 1


@pytest.mark.usefixtures("fake_child")
def test_stop_before_start_measures_nothing() -> None:
    benchmark = Benchmark([Cell(MAML, "batched")])
    benchmark.stop()
    assert list(benchmark) == []


@pytest.mark.usefixtures("fake_child")
def test_missing_device_is_bad_input() -> None:
    with pytest.raises(BadInput, match="there is no such device"):
        next(iter(Benchmark([Cell(MAML, "batched")], device="mps")))


def test_unmeasurable_machine_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_child(monkeypatch, "raise SystemExit(3)")
    with pytest.raises(MetatuiError, match="ended with exit code 3") as raised:
        next(iter(Benchmark([Cell(MAML, "batched")])))
    assert not isinstance(raised.value, BadInput)


@pytest.mark.usefixtures("one_torch_thread")
def test_machine_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
        assert (device, dtype, torch.get_num_threads()) == (CPU, torch.float32, 3)
        return 5e9

    monkeypatch.setattr(measurement, "default_threads", lambda: 3)
    monkeypatch.setattr(measurement, "matmul_rate", matmul_rate)
    monkeypatch.setattr(measurement, "copy_rate", lambda device: 6e9)
    found = measurement.machine("cpu")
    assert (found.device, found.torch, found.matmul_gflops, found.copy_gb_per_s) == ("cpu", torch.__version__, 5.0, 6.0)
    assert found.threads == 3
