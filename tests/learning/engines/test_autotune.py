"""Tests of the automatic choice of an engine: time measurements, and engines that fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from metatui.config.declarations import Scalar
from metatui.config.settings import Settings
from metatui.learning import experiment as experiment_module
from metatui.learning.algorithm import Algorithm, algorithm_class
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines import autotune
from metatui.learning.engines.autotune import WORTH_COMPILING, EngineTimings, _milliseconds
from metatui.learning.engines.base import Engine, meta_parameters
from metatui.learning.engines.registry import make_engine
from metatui.learning.experiment import set_up
from metatui.learning.hardware import devices
from metatui.learning.hardware.devices import Device, cpu
from metatui.learning.models.mlp import mlp
from metatui.learning.optim.losses import MEAN_SQUARED_ERROR
from metatui.utils import paths
from metatui.utils.errors import BadInput

Make = Callable[..., Settings]
Sample = Callable[[int], Episodes]
ADD, READ = EngineTimings.add, autotune._read
"""The original functions of the cache of measurements. A fixture in tests/conftest.py replaces them in tests."""


def measure_as(monkeypatch: pytest.MonkeyPatch, times: dict[str, float | Exception]) -> None:
    """Replace the time measurement of each engine by a given result.

    The result is the time in milliseconds, or an exception that the measurement raises.
    """

    def milliseconds(engine: Engine, *_: object, limit: float | None) -> float:
        found = times[engine.name]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(autotune, "_milliseconds", milliseconds)


def test_failing_engine_is_skipped(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    measure_as(monkeypatch, {"batched": RuntimeError("no kernel image\nis available"), "loop": 3.0})
    experiment = set_up(tiny())
    assert experiment.settings.compute.engine == "loop"
    assert experiment.engine_reason == "measured 3 ms per meta-step; batched failed: RuntimeError: no kernel image"
    assert set(experiment.measured.ms) == {"loop"}


def test_reason_names_the_time_of_each_engine(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    measure_as(monkeypatch, {"batched": 28.51, "loop": 1160.4})
    assert set_up(tiny()).engine_reason == "measured 28.5 ms per meta-step; loop: 1,160 ms"


def test_reason_marks_times_that_were_measured_earlier(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def stored(*_: object) -> EngineTimings:
        measured = EngineTimings(key="")
        measured.ms = {"batched": 28.51, "loop": 1160.4}
        return measured

    monkeypatch.setattr(experiment_module, "measured_for", stored)
    assert set_up(tiny()).engine_reason == "measured earlier: 28.5 ms per meta-step; loop: 1,160 ms"


def test_times_are_kept_for_each_number_of_threads(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, dict[str, float]] = {}

    def add(measured: EngineTimings, engine: str, ms: float) -> None:
        known.setdefault(measured._key, {})[engine] = measured.ms[engine] = ms

    monkeypatch.setattr(autotune, "_read", lambda: known)
    monkeypatch.setattr(EngineTimings, "add", add)
    monkeypatch.setattr(devices, "usable_cores", lambda: 2)
    measure_as(monkeypatch, {"batched": 2.0, "loop": 1.0, "native": 3.0})
    words = []
    for variable in ("2", "1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
        experiment = set_up(tiny(task__source="glyphs", task__shots=1, model__filters=2))
        assert experiment.settings.compute.threads == int(variable)
        words.append(experiment.engine_reason.split(" 1 ms")[0])
    assert words == ["measured", "measured", "measured earlier:"]


@pytest.fixture
def cache_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Store measurements in a file in a temporary folder, and return its path."""
    monkeypatch.setattr(paths, "measured_engines_file", lambda: tmp_path / "cache" / "engines.json")
    monkeypatch.setattr(autotune, "_read", READ)
    monkeypatch.setattr(EngineTimings, "add", ADD)
    return tmp_path / "cache" / "engines.json"


def test_newest_measurements_are_kept_in_a_file(cache_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "MAX_ENTRIES", 2)
    for key, engine, ms in (("a", "loop", 1.0), ("b", "loop", 2.0), ("a", "batched", 3.0), ("c", "loop", 4.0)):
        EngineTimings(key=key).add(engine, ms)
    assert READ() == {"a": {"loop": 1.0, "batched": 3.0}, "c": {"loop": 4.0}}
    assert EngineTimings(key="a").ms == {"loop": 1.0, "batched": 3.0}
    assert EngineTimings(key="b").ms == {}


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"a": 3}', '{"a": {"loop": "x"}}', '{"a": {"loop": -1}}', '{"a": {"loop": NaN}}']
)
def test_damaged_file_of_measurements_is_replaced(content: str, cache_file: Path) -> None:
    cache_file.parent.mkdir()
    cache_file.write_text(content)
    measured = EngineTimings(key="b")
    assert measured.ms == {}
    measured.add("loop", 2.0)
    assert json.loads(cache_file.read_text()) == {"b": {"loop": 2.0}}


@pytest.mark.parametrize(
    ("later", "loop_ms", "has_compiler", "engine", "reason"),
    [
        (3001, 20.0, True, "compiled", "after 6 meta-steps; batched measured 10 ms per meta-step; loop: 20 ms"),
        (3000, 20.0, True, "batched", "measured 10 ms per meta-step; loop: 20 ms"),
        (3001, 20.0, False, "batched", "measured 10 ms per meta-step; loop: 20 ms"),
        (7000, 5.0, True, "loop", "measured 5 ms per meta-step; batched: 10 ms"),
    ],
    ids=["long", "short", "no compiler", "loop is faster"],
)
def test_long_runs_on_the_batched_engine_are_compiled(
    later: int,
    loop_ms: float,
    has_compiler: bool,
    engine: str,
    reason: str,
    tiny: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measure_as(monkeypatch, {"batched": 10.0, "loop": loop_ms})
    monkeypatch.setattr(autotune, "WORTH_COMPILING", WORTH_COMPILING)
    monkeypatch.setattr(autotune, "has_compiler", lambda: has_compiler)
    experiment = set_up(tiny(compute__compile_after=6, training__iterations=6 + later))
    assert (experiment.settings.compute.engine, experiment.engine_reason) == (engine, reason)


def test_error_of_usual_engine_is_raised_if_all_fail(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    measure_as(monkeypatch, {"batched": RuntimeError("first"), "loop": RuntimeError("second")})
    with pytest.raises(RuntimeError, match="first"):
        set_up(tiny())


def test_bad_input_is_raised(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    measure_as(monkeypatch, {"batched": BadInput("too few classes"), "loop": 1.0})
    with pytest.raises(BadInput, match="too few classes"):
        set_up(tiny())


def on_cuda(monkeypatch: pytest.MonkeyPatch, timed: Callable[[int], float]) -> tuple[Engine, list[int], Sample]:
    """Simulate an engine on CUDA that takes `timed(n)` milliseconds for n tasks.

    Returns the engine, the list of the numbers of tasks that are requested, and the function that creates tasks.
    """
    engine, asked = make_engine("batched", mlp((4,)), MEAN_SQUARED_ERROR), []

    def sample(tasks: int) -> Episodes:
        asked.append(tasks)
        return Episodes(*(torch.zeros(tasks, 2, 1) for _ in range(4)))

    monkeypatch.setattr(autotune, "_device", lambda engine: torch.device("cuda"))
    monkeypatch.setattr(autotune, "free_unused_memory", lambda device: None)
    monkeypatch.setattr(autotune, "_timed", lambda engine, algorithm, meta, episodes, limit: timed(len(episodes)))
    return engine, asked, sample


@pytest.mark.parametrize(("workers", "measured"), [(1, 2), (2, 2), (8, 8), (64, 32)])
def test_every_worker_of_a_cpu_is_measured(
    workers: int, measured: int, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, asked, sample = on_cuda(monkeypatch, lambda tasks: 5.0)
    monkeypatch.setattr(autotune, "_device", lambda engine: torch.device("cpu"))
    settings = tiny(task__source="glyphs", task__shots=1, algorithm__meta_batch=32)
    assert _milliseconds(engine, algorithm_of(settings), {}, sample, workers, limit=None) == 5.0 * 32 / measured
    assert asked == [measured]


def test_engines_are_measured_with_the_threads_of_the_training(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, one_torch_thread: None
) -> None:
    seen: list[tuple[str, int]] = []

    def milliseconds(engine: Engine, *_: object, limit: float | None) -> float:
        seen.append((engine.name, torch.get_num_threads()))
        return 1.0 if engine.name == "batched" else 2.0

    monkeypatch.setattr(autotune, "_milliseconds", milliseconds)
    set_up(tiny(task__source="glyphs", task__shots=1, model__filters=2, compute__threads=2))
    assert set(seen) == {("batched", 2), ("loop", 1)}
    assert torch.get_num_threads() == 2  # for the engine batched


def algorithm_of(settings: Settings) -> Algorithm:
    return algorithm_class(settings.algorithm.name)(settings, mlp((4,)))


def test_gpu_is_measured_on_all_tasks(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, asked, sample = on_cuda(monkeypatch, lambda tasks: 5.0)
    settings = tiny(task__source="glyphs", task__shots=1, algorithm__meta_batch=32)
    assert _milliseconds(engine, algorithm_of(settings), {}, sample, 1, limit=None) == 5.0
    assert asked == [32]


def test_gpu_is_measured_on_tasks_that_fit(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(tasks: int) -> float:
        if tasks > 8:
            raise torch.OutOfMemoryError
        return 5.0

    engine, asked, sample = on_cuda(monkeypatch, timed)
    assert _milliseconds(engine, algorithm_of(tiny(algorithm__meta_batch=32)), {}, sample, 1, limit=None) == 20.0
    assert asked == [32, 16, 8]
    settings = tiny(algorithm__meta_batch=32, compute__tasks_at_once=4)
    assert _milliseconds(engine, algorithm_of(settings), {}, sample, 1, limit=None) == 40.0
    assert asked[3:] == [4]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_first_call_is_not_timed(tiny: Make, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    engine, clock = make_engine("batched", mlp((4,)), MEAN_SQUARED_ERROR), [0.0]

    def meta_gradient_of(*_: object, **__: object) -> None:
        clock.append(clock[-1] + (2.0 if len(clock) == 1 else 0.25))

    monkeypatch.setattr(autotune, "_device", lambda engine: torch.device(device))
    monkeypatch.setattr(autotune, "synchronize", lambda device: None)
    monkeypatch.setattr(autotune, "SECONDS", 0.0)
    monkeypatch.setattr("metatui.learning.engines.autotune.time.perf_counter", lambda: clock[-1])
    monkeypatch.setattr(engine, "meta_gradient_of", meta_gradient_of)
    episodes = Episodes(*(torch.zeros(3, 2, 1) for _ in range(4)))
    algorithm = algorithm_of(tiny(compute__cuda_graphs=False))
    assert autotune._timed(engine, algorithm, {}, episodes, limit=None) == pytest.approx(250)


class Clock:
    """A fake of `time.perf_counter`, which an engine advances by an eighth of a second for each meta-gradient."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, engine: Engine, device: str) -> None:
        self.now, self.calls = 0.0, 0
        monkeypatch.setattr(autotune, "_device", lambda engine: torch.device(device))
        monkeypatch.setattr(autotune, "synchronize", lambda device: None)
        monkeypatch.setattr(autotune, "SECONDS", 0.5)
        monkeypatch.setattr("metatui.learning.engines.autotune.time.perf_counter", lambda: self.now)
        monkeypatch.setattr(engine, "meta_gradient_of", self.advance)

    def advance(self, *_: object) -> None:
        self.calls += 1
        self.now += 0.125


@pytest.mark.parametrize(("limit", "calls"), [(None, 1 + 4), (260.0, 4), (240.0, 3)])
def test_slow_engines_are_measured_less_often(
    limit: float | None, calls: int, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check the number of measurements of an engine that takes 500 ms for the 12 tasks of a meta-step."""
    engine = make_engine("batched", mlp((4,)), MEAN_SQUARED_ERROR)
    clock = Clock(monkeypatch, engine, "cpu")
    episodes = Episodes(*(torch.zeros(3, 2, 1) for _ in range(4)))
    algorithm = algorithm_of(tiny(algorithm__meta_batch=12))
    assert autotune._timed(engine, algorithm, {}, episodes, limit=limit) == 125
    assert clock.calls == calls


@pytest.mark.parametrize(("limit", "captured"), [(None, True), (13.0, True), (12.0, False)])
def test_very_slow_engines_are_measured_without_capture(
    limit: float | None, captured: bool, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, released = mlp((4,)), []
    engine = make_engine("batched", model, MEAN_SQUARED_ERROR)
    clock = Clock(monkeypatch, engine, "cuda")

    class Captured:
        """A fake of `CapturedStep` whose graph takes a quarter of the time of the eager meta-gradient."""

        def __init__(self, *_: object) -> None: ...

        def capture(self, *_: object) -> None: ...

        def __call__(self, *_: object) -> None:
            clock.now += 0.03125

        def release(self) -> None:
            released.append(True)

    monkeypatch.setattr(autotune, "CapturedStep", Captured)
    episodes = Episodes(*(torch.zeros(3, 2, 1) for _ in range(4)))
    took = autotune._timed(engine, algorithm_of(tiny()), meta_parameters(model), episodes, limit=limit)
    assert (took, bool(released)) == (31.25 if captured else 125, captured)


def test_measurements_depend_on_whatever_changes_the_time(tiny: Make) -> None:
    def key(model: nn.Module | None = None, device: Device | None = None, threads: int = 1, **changes: Scalar) -> str:
        return autotune.measured_for(tiny(**changes), device or cpu(), model or mlp((4,)), threads)._key

    other: list[dict[str, Scalar]] = [
        {"compute__precision": "float64"}, {"compute__second_order": "unrolled"}, {"task__shots": 3},
        {"task__queries": 3}, {"algorithm__name": "fomaml"}, {"algorithm__inner_steps": 2},
        {"algorithm__inner_optimizer": "adam"}, {"algorithm__meta_batch": 5}, {"algorithm__adapt": "head"},
        {"algorithm__freeze": "0.*"}, {"algorithm__name": "imaml"},
        {"algorithm__name": "imaml", "imaml__cg_steps": 2}, {"task__source": "glyphs", "task__ways": 2},
        {"task__source": "glyphs", "task__ways": 3},
    ]  # fmt: skip
    keys = [key(), key(mlp((5,))), key(device=Device("cpu", "another processor", 2**30)), key(threads=2)]
    keys += [key(**changes) for changes in other]  # type: ignore[arg-type]
    assert len(set(keys)) == len(keys)
    assert key(training__seed=1, algorithm__outer_lr=0.5, evaluation__tasks=7) == key()


def test_gpu_measurements_depend_on_capture(tiny: Make) -> None:
    gpu, model = Device("cuda:0", "A GPU", 2**30), mlp((4,))

    def key(device: Device, **changes: bool | int | str) -> str:
        return autotune.measured_for(tiny(**changes), device, model, 1)._key

    assert len({key(gpu), key(gpu, compute__cuda_graphs=False), key(gpu, compute__tasks_at_once=2)}) == 3
    assert key(cpu()) == key(cpu(), compute__cuda_graphs=False) == key(cpu(), compute__tasks_at_once=2)
    # A run with a range is not captured. It is measured on its largest tasks.
    ranged = {"task__shots_range": "2-6"}
    assert key(gpu, **ranged) == key(gpu, task__shots=6, compute__cuda_graphs=False)
    assert key(cpu(), **ranged) == key(cpu(), task__shots=6)
