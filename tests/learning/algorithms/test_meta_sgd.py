"""Tests of Meta-SGD: training, evaluation, and agreement with a simple loop written from the paper."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metatui.config.schedule import PlannedChange
from metatui.config.settings import Settings
from metatui.events import Finished, Warned
from metatui.learning.algorithms.meta_sgd import MetaSGD
from metatui.learning.engines.registry import EngineName, make_engine
from metatui.learning.evaluation.explorer import explore
from metatui.learning.evaluation.parameter_space import trajectories
from metatui.learning.experiment import set_up
from metatui.learning.optim.inner import Params
from metatui.learning.training.trainer import Trainer
from metatui.runs.analysis.evaluate import with_protocol
from metatui.utils.errors import SettingsError
from tests.learning.algorithms.learned import GLYPHS, SINUSOID, changed, noisy
from tests.learning.algorithms.references import (
    BASES,
    LEARNING,
    Forward,
    check_adaptation,
    check_meta_gradient,
    check_training,
    settings_of,
)
from tests.learning.evaluation.test_parameter_space import run_generator

ENGINES: tuple[EngineName, ...] = ("loop", "native", "batched", "unfolded")


def meta_sgd(forward: Forward, meta: Params, task: tuple[Tensor, ...]) -> Tensor:
    """Compute the query loss after two inner steps (Li et al. 2017, Algorithm 1, lines 4 to 7)."""
    x, y, query_x, query_y = task
    loss = F.mse_loss if y.is_floating_point() else F.cross_entropy
    fast = {name: p for name, p in meta.items() if "/" not in name}
    assert meta.keys() - fast.keys() == {f"inner_lr/{name}" for name in fast}
    for _ in range(2):
        slopes = torch.autograd.grad(loss(forward(fast, x), y), list(fast.values()), create_graph=True)
        fast = {name: p - meta[f"inner_lr/{name}"] * g for (name, p), g in zip(fast.items(), slopes, strict=True)}
    return loss(forward(fast, query_x), query_y)


@BASES
def test_engines_agree_with_the_paper(base: Settings) -> None:
    check_meta_gradient(settings_of(base, "meta_sgd"), meta_sgd)


def test_training() -> None:
    check_training(settings_of(LEARNING["sinusoid"], "meta_sgd", training__iterations=80))


@BASES
def test_adaptation(base: Settings) -> None:
    check_adaptation(settings_of(base, "meta_sgd"))


def test_rates_of_the_head_alone() -> None:
    experiment = set_up(changed(SINUSOID, algorithm__name="meta_sgd", algorithm__adapt="head"))
    meta, episodes = noisy(experiment.theta()), experiment.training_episodes(range(2))
    assert {name for name in meta if "/" in name} == {"inner_lr/4.weight", "inner_lr/4.bias"}
    results = [
        make_engine(name, experiment.model, experiment.loss).meta_gradient_of(experiment.algorithm, meta, episodes)
        for name in ENGINES
    ]
    for result in results[1:]:
        for key, gradient in results[0].gradients.items():
            assert (result.gradients[key] - gradient).norm() <= 1e-8 * gradient.norm()


def test_rates_are_learned(tiny: Callable[..., Settings]) -> None:
    trainer = Trainer(tiny(algorithm__name="meta_sgd", algorithm__outer_lr=0.01))
    *_, finished = trainer.events()
    assert trainer.learner.theta["inner_lr/0.weight"].std() > 1e-3
    assert isinstance(finished, Finished)
    assert finished.test is not None
    assert finished.test.inner_lr is None, "there is no single inner learning rate"


def test_inner_lr_is_only_the_initial_value(tiny: Callable[..., Settings]) -> None:
    settings = tiny(algorithm__name="meta_sgd", algorithm__inner_lr=0.03, training__iterations=2)
    assert torch.all(set_up(settings).theta()["inner_lr/0.bias"] == 0.03)
    sentence = "algorithm.inner_lr cannot be changed during this run: it is the initial value of the learned rates"
    trainer = Trainer(settings, changes=[PlannedChange(1, "algorithm.inner_lr", 0.5)])
    assert [event.text for event in trainer.events() if isinstance(event, Warned)] == [sentence]
    assert trainer.settings == settings.model_copy(update={"compute": trainer.settings.compute})
    with pytest.raises(SettingsError, match="cannot be changed in an evaluation of this run: it is the initial value"):
        with_protocol(
            settings, tasks=None, steps=None, shots=None, inner_lr=0.1, batch_norm=None, device=None
        )  # fmt: skip


def test_higher_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"compute\.engine is 'higher', but must be another engine"):
        set_up(changed(SINUSOID, algorithm__name=MetaSGD.name, compute__engine="higher"))


def test_explorer_scales_the_rates() -> None:
    experiment = set_up(changed(SINUSOID, algorithm__name="meta_sgd"))
    meta, own = noisy(experiment.theta()), experiment.settings.algorithm.inner_lr
    doubled = {name: 2 * p if "/" in name else p for name, p in meta.items()}
    views = [
        explore(experiment, theta, task=0, drawn=None, steps=3, inner_lr=rate)
        for theta, rate in ((meta, 2 * own), (doubled, own), (meta, own))
    ]
    assert views[0] == views[1] != views[2]


@pytest.mark.parametrize("name", ["meta_sgd", "maml_plus_plus"])
def test_parameter_space_shows_the_model_alone(name: str) -> None:
    experiment = set_up(changed(GLYPHS, algorithm__name=name, algorithm__inner_steps=2))
    result, _ = run_generator(trajectories(experiment, experiment.theta(), tasks=3, steps=3))
    assert result.parameters == sum(p.numel() for p in experiment.model.parameters())
    assert all(path[0] == pytest.approx((0, 0), abs=1e-12) for path in result.paths)
