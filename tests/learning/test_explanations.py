"""Tests of the explanations of algorithms: they count gradients correctly and reflect the user's settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import pytest
import torch

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.registry import ALGORITHMS
from metatui.config.settings import Settings
from metatui.learning.algorithm import Algorithm
from metatui.learning.engines import second_order as engine_module
from metatui.learning.engines import task as task_module
from metatui.learning.experiment import set_up
from metatui.learning.explanations import explanation
from metatui.learning.training.learner import Learner
from tests.runs.analysis.comparisons import GLYPHS, SINUSOID

STEPS: dict[str, Scalar] = {
    "algorithm.inner_steps": 3,
    "algorithm.meta_batch": 4,
    "compute.engine": "loop",
    "compute.threads": 1,
}


def cases(names: Iterable[str]) -> list[Any]:
    """Return test parameters that combine each algorithm in `names` with each kind of task that it supports."""
    return [
        pytest.param(name, base, id=f"{name}-{kind}")
        for name in names
        for kind, base in (("sinusoid", SINUSOID), ("images", GLYPHS))
        if not list(ALGORITHMS[name].violations(base))
    ]


COUNTED = [
    pytest.param(*case.values, method, id=f"{case.id}-{method}")
    for case in cases(name for name in ALGORITHMS.names() if ALGORITHMS[name].timed)
    for method in ("unrolled", "recomputed")
    if method == "unrolled" or "compute.second_order" in ALGORITHMS[case.values[0]].uses
]


@pytest.mark.parametrize(("algorithm", "base", "second_order"), COUNTED)
def test_gradient_counts_are_right(
    monkeypatch: pytest.MonkeyPatch, algorithm: str, base: Settings, second_order: str
) -> None:
    calls = {"grad": 0, "product": 0}
    grad, product = torch.autograd.grad, engine_module.hessian_vector_product

    def counted_grad(*args: Any, **kwargs: Any) -> Any:
        calls["grad"] += 1
        return grad(*args, **kwargs)

    def counted_product(*args: Any) -> Any:
        calls["product"] += 1
        before = calls["grad"]
        result = product(*args)
        calls["grad"] = before
        return result

    monkeypatch.setattr(engine_module, "grad", counted_grad)
    for module in (engine_module, task_module):
        monkeypatch.setattr(module, "hessian_vector_product", counted_product)
    settings = change(base, {**STEPS, "algorithm.name": algorithm, "compute.second_order": second_order})
    experiment = set_up(settings)
    Learner(experiment).meta_step(range(4), 0.001)
    explained = explanation(settings)
    assert calls["grad"] == explained.gradients
    kind = experiment.algorithm
    differentiates_steps = kind.timed == "meta_gradient" and kind.second_order and "algorithm.inner_steps" in kind.uses
    if type(kind).meta_gradient is not Algorithm.meta_gradient:  # an implicit gradient
        assert calls["product"] == explained.hessian_products == 24
        return
    assert explained.hessian_products == (12 if differentiates_steps else 0)
    # A backward pass through the graph of all steps contains the products.
    assert calls["product"] == (12 if second_order == "recomputed" else 0)


@pytest.mark.parametrize(("algorithm", "base"), cases(ALGORITHMS.names()))
def test_code_contains_the_settings(algorithm: str, base: Settings) -> None:
    settings = change(base, {"algorithm.inner_lr": 0.0123, "algorithm.outer_lr": 0.0456, "training.seed": 77})
    code = "\n".join(explanation(settings, algorithm).code)
    assert "from seed 77" in code
    uses = ALGORITHMS[algorithm].uses - ({"algorithm.inner_lr"} if algorithm == "pretrained" else set())
    assert ("0.0123" in code) == ("algorithm.inner_lr" in uses)
    assert ("0.0456" in code) == ("algorithm.outer_lr" in uses)
    assert ("image" in code or "example" in code) == settings.is_classification or algorithm == "pretrained"


@pytest.mark.parametrize(
    ("path", "value", "algorithm", "expected"),
    [
        ("algorithm.grad_clip", 10.0, "maml", "scaled down to a norm of 10"),
        ("algorithm.inner_batch", 5, "reptile", "B ← the next 5 examples of D, cyclically"),
        ("algorithm.outer_schedule", "linear", "reptile", "ε = 0.001, linear to 0"),
        ("algorithm.inner_steps", 7, "fomaml", "repeat 7 times:"),
        ("training.iterations", 60000, "maml", "repeat 60,000 times:"),
    ],
)
def test_code_reflects_optional_settings(path: str, value: Any, algorithm: str, expected: str) -> None:
    settings = change(Settings(), {"algorithm.name": algorithm, path: value})
    assert expected in "\n".join(explanation(settings).code)


@pytest.mark.parametrize(("algorithm", "base"), cases(ALGORITHMS.names()))
def test_code_contains_ranges(algorithm: str, base: Settings) -> None:
    sizes = {"task.shots": 1, "task.ways": 5, "task.queries": 2, "algorithm.meta_batch": 4, "evaluation.shots": 0}
    settings = change(base, {**sizes, "task.shots_range": "1-10", "task.ways_range": "3-7"})
    code = "\n".join(explanation(settings, algorithm).code)
    if algorithm == "pretrained":
        examples = f"{4 * 3 * 3} to {4 * 12 * 7}" if settings.is_classification else f"{4 * 3} to {4 * 12}"
        assert f"B ← {examples} examples: as many as 4 episodes" in code
        assert f"the mean loss over {examples} examples." in explanation(settings, algorithm).costs[0]
        return
    held_out = algorithm == "scratch"
    if settings.is_classification:
        drawn = "1 to 10 support images of each of 3 to 7 classes"
        assert f"D ← {'1 support image of each of 5 classes' if held_out else drawn}" in code
    else:
        assert f"D ← {'1 support point' if held_out else '1 to 10 support points'}" in code


@pytest.mark.parametrize("name", ["maml", "reptile", "scratch"])
def test_inner_optimiser_is_described(name: str) -> None:
    def inner_loop(**values: Scalar) -> list[str]:
        settings = change(Settings(), {f"algorithm.{key}": value for key, value in values.items()})
        lines = [line.strip() for line in explanation(settings, name).code]
        return lines[lines.index("θ' ← θ") + 1 :][:6]

    assert inner_loop()[1] == "θ' ← θ' − 0.01 ∇L(D; θ')"
    adam = inner_loop(inner_optimizer="adam", inner_clip=10)
    assert adam[1:4] == [
        "g ← ∇L(D; θ')", "g ← g, scaled down to a norm of 10 if its norm is larger",
        "θ' ← Adam(θ', g), step size 0.01, without momentum",
    ]  # fmt: skip
    momentum = inner_loop(inner_optimizer="momentum", inner_momentum=0.8, inner_weight_decay=0.1)
    assert momentum[0] == "v ← 0"
    assert momentum[2:5] == ["g ← ∇L(D; θ') + 0.1 θ'", "v ← 0.8 v + g", "θ' ← θ' − 0.01 v"]


def test_torch_is_not_imported() -> None:
    code = "import sys; import metatui.learning.explanations; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
