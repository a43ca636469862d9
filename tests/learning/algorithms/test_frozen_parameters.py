"""Tests of `algorithm.freeze`, which excludes parameters from the inner and the outer loop."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metatui.config.registry import ALGORITHMS
from metatui.config.settings import Settings
from metatui.learning.experiment import set_up
from metatui.learning.optim.inner import Params
from metatui.learning.training.trainer import Trainer
from metatui.utils.errors import SettingsError
from tests.learning.algorithms.learned import GLYPHS, SINUSOID, changed
from tests.learning.algorithms.references import IMAGES, Forward, check_meta_gradient, settings_of

LEARNS_NOTHING = "scratch"
FREEZING = [
    name for name in ALGORITHMS.names() if "algorithm.freeze" in ALGORITHMS[name].uses and name != LEARNS_NOTHING
]


@pytest.mark.parametrize("name", FREEZING)
def test_frozen_parameters_keep_their_values(name: str) -> None:
    settings = changed(
        GLYPHS, algorithm__name=name, algorithm__freeze="0.*, 4.*", training__iterations=2, evaluation__every=0,
        evaluation__tasks=2, evaluation__test_tasks=2, evaluation__inner_steps=2,
    )  # fmt: skip
    trainer = Trainer(settings)
    before = {key: p.clone() for key, p in trainer.experiment.model.named_parameters()}
    list(trainer.events())
    theta = trainer.learner.theta
    assert not [key for key in theta if key.startswith(("0.", "4."))]
    moved = {key for key in theta if key in before and not torch.equal(theta[key], before[key])}
    assert moved
    frozen = {key: p for key, p in trainer.experiment.model.named_parameters() if key.startswith(("0.", "4."))}
    assert frozen
    assert all(torch.equal(p, before[key]) for key, p in frozen.items())
    episodes = trainer.learner.sample(range(2))
    *_, last = trainer.experiment.engine.adaptation(trainer.learner.algorithm, theta, episodes, 2)
    assert "0.weight" not in last.params


def maml(forward: Forward, theta: Params, task: tuple[Tensor, ...]) -> Tensor:
    """Compute the query loss after two inner steps on the parameters that are not frozen."""
    x, y, query_x, query_y = task
    assert not any(name.startswith("4.") for name in theta)
    fast = theta
    for _ in range(2):
        slopes = torch.autograd.grad(F.cross_entropy(forward(fast, x), y), list(fast.values()), create_graph=True)
        fast = {name: p - 0.05 * g for (name, p), g in zip(fast.items(), slopes, strict=True)}
    return F.cross_entropy(forward(fast, query_x), query_y)


def test_engines_agree_with_a_simple_loop() -> None:
    check_meta_gradient(settings_of(IMAGES, "maml", algorithm__freeze="4.*"), maml)


def test_freezing_everything_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"algorithm\.freeze is '\*', but must leave at least one model parameter"):
        set_up(changed(SINUSOID, algorithm__freeze="*"))


@pytest.mark.parametrize(
    ("base", "changes", "sentence"),
    [
        (
            SINUSOID,
            {"algorithm__adapt": "5.*"},
            "algorithm.adapt is '5.*', but must select a trainable parameter that MAML adapts, such as 0.weight",
        ),
        (
            GLYPHS,
            {"algorithm__name": "maml_plus_plus", "algorithm__adapt": "1.*, 5.*"},  # the inner loop skips batch norm
            "algorithm.adapt is '1.*, 5.*', but must select a trainable parameter that MAML++ adapts, such as 0.weight",
        ),
        (
            SINUSOID,
            {"algorithm__name": "anil", "algorithm__freeze": "4.*"},
            "algorithm.freeze is '4.*', but must leave a parameter of the head trainable, because ANIL adapts no other "
            "parameters",
        ),
        (
            GLYPHS,
            {"algorithm__name": "protonet", "algorithm__freeze": "?.*, 1[0-6].*"},
            "algorithm.freeze is '?.*, 1[0-6].*', but must leave a parameter before the last layer trainable, because "
            "ProtoNet does not use the model's own last layer",
        ),
    ],
    ids=["no such parameter", "batch norm of MAML++", "frozen head", "frozen body"],
)
def test_settings_that_leave_nothing_to_learn_are_refused(
    base: Settings, changes: dict[str, str], sentence: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        set_up(changed(base, **changes))
    assert str(refused.value) == sentence


def test_higher_refuses_frozen_parameters(tiny: Callable[..., Settings]) -> None:
    with pytest.raises(SettingsError, match=r"compute\.engine is 'higher', .* also adapts frozen parameters"):
        set_up(tiny(algorithm__freeze="0.*", compute__engine="higher"))
