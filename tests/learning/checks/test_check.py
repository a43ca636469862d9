"""Tests of the gradient checks: correct gradients pass, and wrong ones are detected."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from metatui.config.registry import ALGORITHMS
from metatui.learning.checks import check, comparison
from metatui.learning.checks.algorithms import check_pretrained
from metatui.learning.checks.check import run_checks
from metatui.learning.engines.batched import BatchedEngine
from metatui.learning.engines.layers.fused_first_block import MIN_NUMEL
from metatui.learning.engines.loop import LoopEngine
from metatui.learning.engines.registry import ENGINES
from metatui.learning.hardware.devices import Device
from metatui.learning.optim.inner import Params
from metatui.learning.training.learner import Learner
from metatui.utils.errors import BadInput

CASES = ("mlp", "conv4 max_pool", "conv4 stride")


def test_all_checks_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "DIRECTIONS", 1)  # less time
    checks = list(run_checks())
    assert [c for c in checks if not c.ok] == []
    covered = {(c.name.partition(": ")[0], c.algorithm, c.engine, c.reference) for c in checks}
    for case in CASES:
        for algorithm, engine in product(("maml", "fomaml", "reptile"), ENGINES):
            assert (case, algorithm, engine, "finite differences") in covered
            assert (case, algorithm, engine, "higher") in covered or engine not in ("loop", "batched")
        assert (case, "maml", "loop", "fomaml") in covered
        assert {(case, "reptile", engine, "torch.optim.Adam") for engine in ("loop", "batched")} <= covered
        assert {(case, "scratch", engine, "torch.optim.SGD") for engine in ENGINES} <= covered
    assert {c.algorithm for c in checks} == set(ALGORITHMS.names())


def test_device_without_float64_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "resolve", lambda name: Device("mps", "a GPU", 0))
    with pytest.raises(BadInput, match="the device is mps, which does not support float64"):
        next(run_checks("auto"))


@pytest.mark.parametrize(("device", "full_size"), [("cpu", []), ("cuda:1", [torch.device("cuda:1")])])
def test_full_size_networks_are_checked_on_gpus(
    device: str, full_size: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[torch.device] = []

    def compare(case: torch.device, *, full_size: bool) -> list[object]:
        assert full_size
        compared.append(case)
        return []

    monkeypatch.setattr(check, "resolve", lambda name: Device(name, "a processor", 0))
    for others in ("cases", "check_algorithms", "check_pretrained"):
        monkeypatch.setattr(check, others, lambda device: [])
    monkeypatch.setattr(check, "full_size_cases", lambda device: [device])
    monkeypatch.setattr(check, "compare", compare)
    assert list(run_checks(device)) == []
    assert compared == full_size


def test_full_size_networks_use_fused_layers() -> None:
    cases = list(check.full_size_cases(torch.device("cpu")))
    assert [case.name for case in cases] == ["conv4-64 max_pool", "conv4-64 stride"]
    for case in cases:
        queries, filters = case.episodes.query_x[0], next(p for p in case.model.parameters() if p.ndim == 4)
        assert len(queries) * len(filters) * queries.shape[-2] * queries.shape[-1] >= MIN_NUMEL


@pytest.fixture
def perceptron_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check only MAML, FOMAML and Reptile on the smallest network, which is enough to detect a wrong engine."""
    first, *_ = check.cases(torch.device("cpu"))
    monkeypatch.setattr(check, "cases", lambda device: [first])
    for rest in ("check_algorithms", "check_pretrained"):
        monkeypatch.setattr(check, rest, lambda device: [])


@pytest.mark.usefixtures("perceptron_only")
@pytest.mark.parametrize("engine", [LoopEngine, BatchedEngine])
def test_first_order_instead_of_second_is_detected(
    engine: type[LoopEngine | BatchedEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = engine.meta_gradient
    monkeypatch.setattr(engine, "meta_gradient", lambda *a, first_order: real(*a, first_order=True))
    failed = {(c.algorithm, c.reference) for c in run_checks() if not c.ok}
    assert ("maml", "finite differences") in failed


@pytest.mark.usefixtures("perceptron_only")
def test_relative_error_of_1e6_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    real = BatchedEngine.meta_gradient

    def off(self: BatchedEngine, *args: object, **more: object) -> object:
        result = real(self, *args, **more)  # type: ignore[arg-type]
        return replace(result, gradients={n: g * (1 + 1e-6) for n, g in result.gradients.items()})

    monkeypatch.setattr(BatchedEngine, "meta_gradient", off)
    failed = {(c.engine, c.reference) for c in run_checks() if not c.ok}
    assert ("batched", "higher") in failed


@pytest.mark.usefixtures("perceptron_only")
@pytest.mark.parametrize("wrong", [float("nan"), 0.0])
def test_nan_and_zero_gradients_are_detected(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    real = BatchedEngine.meta_gradient

    def broken(self: BatchedEngine, *args: object, **more: object) -> object:
        result = real(self, *args, **more)  # type: ignore[arg-type]
        return replace(result, gradients={n: torch.full_like(g, wrong) for n, g in result.gradients.items()})

    monkeypatch.setattr(BatchedEngine, "meta_gradient", broken)
    failed = {(c.algorithm, c.engine, c.reference) for c in run_checks() if not c.ok}
    assert {("maml", "batched", "finite differences"), ("fomaml", "batched", "finite differences")} <= failed


@pytest.mark.parametrize("share", [1 + 1e-5, float("nan"), 0.0])
def test_wrong_gradient_of_ordinary_training_is_detected(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Learner.gradient

    def off(self: Learner, params: Params, x: torch.Tensor, y: torch.Tensor) -> Params:
        return {name: share * g for name, g in real(self, params, x, y).items()}

    assert all(c.ok for c in check_pretrained())
    monkeypatch.setattr(Learner, "gradient", off)
    assert [c.ok for c in check_pretrained()] == [False, False]


def test_cases_adapt_affine_norms() -> None:
    perceptron, *images = check.cases(torch.device("cpu"))
    assert (perceptron.name, *(case.name for case in images)) == CASES
    for case in images:
        scales = [p for name, p in case.model.named_parameters() if p.ndim == 1 and name.endswith("weight")]
        assert len(scales) == 4
        assert all(p.requires_grad for p in scales)
        assert all(not torch.equal(p, torch.ones_like(p)) for p in scales)
