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
from metatui.learning.engines.layers.fused_first_block import WORTH_IT
from metatui.learning.engines.loop import LoopEngine
from metatui.learning.hardware.devices import Device
from metatui.learning.optim.inner import Params
from metatui.learning.training.learner import Learner
from metatui.utils.errors import BadInput


def test_all_checks_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "DIRECTIONS", 1)  # less time
    checks = list(run_checks())
    assert [c for c in checks if not c.ok] == []
    covered = {(c.algorithm, c.engine, c.reference) for c in checks}
    for algorithm, engine in product(("maml", "fomaml", "reptile"), ("loop", "batched")):
        assert (algorithm, engine, "finite differences") in covered
        assert (algorithm, engine, "higher") in covered
    assert {c.algorithm for c in checks} == set(ALGORITHMS.names())


def test_device_without_float64_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "resolve", lambda name: Device("mps", "a GPU", 0))
    with pytest.raises(BadInput, match="the device is mps, which does not support float64"):
        next(run_checks("auto"))


def test_full_size_networks_use_fused_layers() -> None:
    for case in check.full_size_cases(torch.device("cpu")):
        queries, filters = case.episodes.query_x[0], next(p for p in case.model.parameters() if p.ndim == 4)
        assert len(queries) * len(filters) * queries.shape[-2] * queries.shape[-1] >= WORTH_IT


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
    for case in check.cases(torch.device("cpu"))[1:]:
        scales = [p for name, p in case.model.named_parameters() if p.ndim == 1 and name.endswith("weight")]
        assert len(scales) == 4
        assert all(p.requires_grad for p in scales)
        assert all(not torch.equal(p, torch.ones_like(p)) for p in scales)
