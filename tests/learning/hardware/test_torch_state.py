"""Test that runs neither depend on nor change the caller's global torch settings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import metatui
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.learning.hardware import torch_state
from metatui.learning.hardware.torch_state import TorchState, isolated
from metatui.runs.analysis import explore as exploring_module
from metatui.runs.analysis.comparison import compare, task_metrics
from metatui.runs.analysis.explore import explore_stepwise
from metatui.runs.analysis.parameter_space import project_stepwise
from metatui.runs.storage.run_folder import RunFolder

TINY = change(
    Settings(),
    {
        "training.iterations": 4, "evaluation.every": 2, "evaluation.tasks": 3, "evaluation.test_tasks": 3,
        "evaluation.inner_steps": 2, "model.hidden": (8,), "algorithm.meta_batch": 2, "compute.device": "cpu",
        "compute.engine": "batched", "compute.threads": 1,
    },
)  # fmt: skip


@contextmanager
def restored(getter: Callable[[], Any], setter: Callable[[Any], object], value: Any) -> Iterator[None]:
    before = getter()
    setter(value)
    try:
        yield
    finally:
        setter(before)


def _set_mkldnn(enabled: bool) -> None:
    torch._C._set_mkldnn_enabled(enabled)


def _set_cudnn_benchmark(enabled: bool) -> None:
    torch.backends.cudnn.benchmark = enabled


def _precision(backend: str, operator: str) -> Any:
    return restored(
        lambda: torch._C._get_fp32_precision_getter(backend, operator),
        lambda value: torch._C._set_fp32_precision_setter(backend, operator, value),
        "tf32",
    )


CALLERS: dict[str, Callable[[], Any]] = {
    "float64": lambda: restored(torch.get_default_dtype, torch.set_default_dtype, torch.float64),
    "bfloat16": lambda: restored(torch.get_default_dtype, torch.set_default_dtype, torch.bfloat16),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "device": lambda: torch.device("meta"),
    "threads": lambda: restored(torch.get_num_threads, torch.set_num_threads, 2),
    "precision": lambda: restored(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"),
    "single_precision": lambda: _precision("mkldnn", "matmul"),
    "deterministic": lambda: restored(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True
    ),
    "denormals": lambda: restored(lambda: False, torch.set_flush_denormal, True),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "mkldnn": lambda: restored(lambda: torch.backends.mkldnn.enabled, _set_mkldnn, False),
    "cudnn": lambda: restored(lambda: torch.backends.cudnn.benchmark, _set_cudnn_benchmark, True),
    "seed": lambda: torch.random.fork_rng(devices=[]),
}


def snapshot() -> list[object]:
    numpy_state = np.random.get_state(legacy=False)
    assert isinstance(numpy_state, dict)
    return [
        torch_state._current(), torch.is_inference_mode_enabled(), torch.get_default_device(),
        torch.get_rng_state().tolist(), torch.initial_seed(), numpy_state["state"]["key"].tolist(), np.geterr(),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> metatui.Result:
    return metatui.train(TINY, runs_dir=tmp_path_factory.mktemp("runs"))


def analysis_results(run: RunFolder) -> list[object]:
    """Evaluate, compare and explore a saved run without using caches, and return the resulting numbers."""
    task_metrics._cache.clear()
    exploring_module._ready.cache_clear()
    evaluation = metatui.evaluate(run)
    comparison = compare(run, tasks=3)
    (explored,) = explore_stepwise([run], task=0, steps=2)
    work = project_stepwise(run, tasks=3)
    while True:
        try:
            next(work)
        except StopIteration as done:
            cloud = done.value.learned.cloud
            break
    return [evaluation.loss, comparison.runs[0].evaluation.loss, explored.view, cloud]


@pytest.fixture(scope="module")
def usual_results(usual: metatui.Result) -> list[object]:
    assert usual.run
    return analysis_results(usual.run)


@pytest.mark.parametrize("caller", CALLERS)
def test_caller_state_and_run_are_independent(
    caller: str, usual: metatui.Result, usual_results: list[object], tmp_path: Path
) -> None:
    assert usual.test
    assert usual.run
    with ExitStack() as stack:
        stack.enter_context(CALLERS[caller]())
        if caller == "seed":
            torch.manual_seed(12345)
        before = snapshot()
        called: list[bool] = []
        result = metatui.train(TINY, runs_dir=tmp_path, on_event=lambda event: called.append(snapshot() == before))
        assert all(called)
        assert snapshot() == before
        found = analysis_results(usual.run)
        assert snapshot() == before
    assert result.test
    assert result.test.loss == usual.test.loss
    assert result.meta_loss == usual.meta_loss
    assert found == usual_results


def torch_settings() -> dict[str, object]:
    """Return the settings that `CALLERS` change, read without the functions under test."""
    precision = torch._C._get_fp32_precision_getter("mkldnn", "matmul")
    try:
        matmul_precision = torch.get_float32_matmul_precision()
    except RuntimeError:  # the precision of a single backend is set
        matmul_precision = ""
    return {
        "dtype": torch.get_default_dtype(), "autocast": torch.is_autocast_enabled("cpu"),
        "grad": torch.is_grad_enabled(), "inference": torch.is_inference_mode_enabled(),
        "device": torch.get_default_device(), "matmul_precision": matmul_precision,
        "precision": "ieee" if precision == "none" else precision,
        "deterministic": torch.are_deterministic_algorithms_enabled(), "denormals": sys.float_info.min / 2 == 0,
        "anomaly": torch.is_anomaly_enabled(), "mkldnn": torch._C._get_mkldnn_enabled(),
        "cudnn": torch.backends.cudnn.benchmark,
    }  # fmt: skip


@pytest.mark.parametrize("caller", [name for name in CALLERS if name not in ("threads", "seed")])
def test_computations_start_with_default_settings(caller: str) -> None:
    usual = torch_settings()
    with CALLERS[caller]():
        changed = torch_settings()
        assert changed != usual
        with TorchState():
            assert torch_settings() == usual
        assert torch_settings() == changed
    assert torch_settings() == usual


def test_the_caller_state_is_restored_after_an_error(tmp_path: Path) -> None:
    def fail(event: object) -> None:
        raise ZeroDivisionError

    with torch.autocast("cpu"), torch.no_grad(), restored(torch.get_num_threads, torch.set_num_threads, 2):
        before = snapshot()
        with pytest.raises(ZeroDivisionError):
            metatui.train(TINY, runs_dir=tmp_path, on_event=fail)
        assert snapshot() == before
        with pytest.raises(metatui.BadInput):
            metatui.train(change(TINY, {"compute.device": "cuda:63"}), runs_dir=tmp_path)
        assert snapshot() == before


def test_generator_restores_caller_state_at_each_yield() -> None:
    @isolated
    def working() -> Iterator[torch.dtype]:
        torch.set_default_dtype(torch.float64)
        yield torch.get_default_dtype()
        yield torch.get_default_dtype()

    seen = [(dtype, torch.get_default_dtype()) for dtype in working()]
    assert seen == [(torch.float64, torch.float32)] * 2


def test_generator_receives_exceptions_and_close() -> None:
    heard: list[object] = []

    def working() -> Any:
        try:
            yield 1
        except KeyError as error:
            heard.append(error.args)
        try:
            yield 2
        finally:
            heard.append(torch.is_grad_enabled())

    work = TorchState().steps(working())
    assert next(work) == 1
    assert work.throw(KeyError("said")) == 2
    with torch.no_grad():
        work.close()
    assert heard == [("said",), True]
