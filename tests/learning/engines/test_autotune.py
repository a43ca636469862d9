"""Tests of the automatic choice of an engine: time measurements, and engines that fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from metatui.config.settings import Settings
from metatui.learning import experiment as experiment_module
from metatui.learning.algorithm import Algorithm, algorithm_class
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines import autotune
from metatui.learning.engines.autotune import Measured, _milliseconds
from metatui.learning.engines.base import Engine
from metatui.learning.engines.registry import make_engine
from metatui.learning.experiment import set_up
from metatui.learning.hardware import devices
from metatui.learning.hardware.devices import Device, cpu
from metatui.learning.models.mlp import mlp
from metatui.learning.optim.losses import MEAN_SQUARED_ERROR
from metatui.utils.errors import BadInput

Make = Callable[..., Settings]
Sample = Callable[[int], Episodes]


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
    def stored(*_: object) -> Measured:
        measured = Measured(key="")
        measured.ms = {"batched": 28.51, "loop": 1160.4}
        return measured

    monkeypatch.setattr(experiment_module, "measured_for", stored)
    assert set_up(tiny()).engine_reason == "measured earlier: 28.5 ms per meta-step; loop: 1,160 ms"


def test_times_are_kept_for_each_number_of_threads(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, dict[str, float]] = {}

    def add(measured: Measured, engine: str, ms: float) -> None:
        known.setdefault(measured._key, {})[engine] = measured.ms[engine] = ms

    monkeypatch.setattr(autotune, "_read", lambda: known)
    monkeypatch.setattr(Measured, "add", add)
    monkeypatch.setattr(devices, "usable_cores", lambda: 2)
    measure_as(monkeypatch, {"batched": 2.0, "loop": 1.0, "native": 3.0})
    words = []
    for variable in ("2", "1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
        experiment = set_up(tiny(task__source="glyphs", task__shots=1, model__filters=2))
        assert experiment.settings.compute.threads == int(variable)
        words.append(experiment.engine_reason.split(" 1 ms")[0])
    assert words == ["measured", "measured", "measured earlier:"]


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
