"""Tests of the checks that compare every engine with plain autograd on unusual modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import metatui
from metatui.learning.checks.edge_cases import (
    CHOICES,
    EDGE_CASES,
    EdgeCase,
    EdgeCaseCheck,
    check_edge_case,
    run_edge_case_checks,
)
from metatui.utils.errors import BadInput

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def with_answer(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[EdgeCaseCheck]:
    """Run the check on one module, with the function `answer` applied to the result of `meta_gradient`."""
    monkeypatch.setattr(
        "metatui.learning.checks.edge_cases.meta_gradient", lambda *a, **k: answer(*metatui.meta_gradient(*a, **k))
    )
    monkeypatch.setattr(
        "metatui.learning.checks.edge_cases.EDGE_CASES", [case for case in EDGE_CASES if case.name == "layer norm"]
    )
    return list(run_edge_case_checks())


@pytest.mark.parametrize("case", EDGE_CASES, ids=lambda case: case.name)
def test_every_engine_agrees_or_refuses(case: EdgeCase) -> None:
    results = list(check_edge_case(case))
    assert [r for r in results if not r.ok] == []
    assert {r.engine for r in results} == set(CHOICES)
    assert {r.algorithm for r in results} == {"maml", "fomaml"}
    assert all(r.outcome == "agrees" for r in results if r.engine in ("auto", "loop"))
    assert all(r.reason for r in results if r.outcome == "refused")


def test_names_are_unique() -> None:
    assert len({case.name for case in EDGE_CASES}) == len(EDGE_CASES) >= 30


@pytest.mark.parametrize("factor", [1 + 1e-6, 0.0, float("nan")])
def test_wrong_gradient_is_detected(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    results = with_answer(monkeypatch, lambda loss, found: (loss, {name: factor * g for name, g in found.items()}))
    assert {r.outcome for r in results} == {"wrong"}


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [(BadInput("no such layer"), "refused", "no such layer"), (RuntimeError("vmap"), "error", "RuntimeError: vmap")],
)
def test_errors_are_not_refusals(error: Exception, outcome: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    results = with_answer(monkeypatch, fail)
    assert {(r.outcome, r.reason) for r in results} == {(outcome, reason)}


def test_random_state_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_rng_state()
    with_answer(monkeypatch, lambda loss, found: (loss, found))
    assert torch.equal(before, torch.get_rng_state())
