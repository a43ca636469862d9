"""Tests of Meta-SGD: training, evaluation, and agreement with a simple loop written from the paper."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from metatui.config.fields import change
from metatui.config.schedule import PlannedChange
from metatui.config.settings import Settings
from metatui.events import Finished, Progress, Warned
from metatui.learning.algorithms.meta_sgd import MetaSGD
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.registry import EngineName, make_engine
from metatui.learning.evaluation.explorer import explore
from metatui.learning.evaluation.parameter_space import trajectories
from metatui.learning.experiment import Experiment, set_up
from metatui.learning.optim.inner import Params
from metatui.learning.training.trainer import Trainer
from metatui.learning.training.trainer_state import evaluate_state
from metatui.runs.analysis.evaluate import with_protocol
from metatui.utils.errors import SettingsError
from tests.learning.algorithms.learned import GLYPHS, SINUSOID, changed, differences, noisy, resumed

STEPS = 2
ENGINES: tuple[EngineName, ...] = ("loop", "native", "batched", "unfolded")


def plain_meta_sgd(experiment: Experiment, meta: Params, episodes: Episodes, steps: int) -> tuple[Tensor, Params]:
    """Compute the mean query loss and its gradient with plain autograd (Li et al. 2017, Algorithm 1, lines 3 to 9)."""
    loss_fn = F.cross_entropy if experiment.settings.is_classification else F.mse_loss
    leaves = {name: p.detach().clone().requires_grad_() for name, p in meta.items()}
    theta = {name: p for name, p in leaves.items() if "/" not in name}
    total = torch.zeros((), dtype=torch.float64)
    for x, y, query_x, query_y in zip(*episodes.tensors(), strict=True):
        fast = theta
        for _ in range(steps):
            loss = loss_fn(functional_call(experiment.model, fast, (x,)), y)
            slopes = torch.autograd.grad(loss, list(fast.values()), create_graph=True)
            fast = {name: p - leaves[f"inner_lr/{name}"] * g for (name, p), g in zip(fast.items(), slopes, strict=True)}
        total = total + loss_fn(functional_call(experiment.model, fast, (query_x,)), query_y) / len(episodes)
    slopes = torch.autograd.grad(total, list(leaves.values()))
    return total.detach(), dict(zip(leaves, slopes, strict=True))


@pytest.mark.parametrize("base", [SINUSOID, GLYPHS], ids=["sinusoid", "images"])
def test_engines_match_the_paper(base: Settings) -> None:
    experiment = set_up(changed(base, algorithm__name="meta_sgd", algorithm__inner_steps=STEPS))
    meta, episodes = noisy(experiment.theta()), experiment.training_episodes(range(2))
    assert {name for name in meta if "/" in name} == {f"inner_lr/{name}" for name in experiment.algorithm.parameters}
    loss, gradients = plain_meta_sgd(experiment, meta, episodes, STEPS)
    for name in ENGINES:
        result = make_engine(name, experiment.model, experiment.loss).meta_gradient_of(
            experiment.algorithm, meta, episodes
        )
        torch.testing.assert_close(result.loss.mean(), loss, rtol=1e-10, atol=0)
        for key, gradient in gradients.items():
            assert (result.gradients[key] - gradient).norm() <= 1e-8 * gradient.norm(), (name, key)
    slope = differences(lambda moved: plain_meta_sgd(experiment, moved, episodes, STEPS)[0], meta, gradients)
    assert abs(slope - 1) < 1e-6


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


def test_equal_rates_match_maml() -> None:
    gradients = []
    for name in ("maml", "meta_sgd"):
        experiment = set_up(changed(GLYPHS, algorithm__name=name, algorithm__inner_steps=STEPS))
        result = experiment.engine.meta_gradient_of(
            experiment.algorithm, experiment.theta(), experiment.training_episodes(range(2))
        )
        gradients.append(torch.cat([result.gradients[n].flatten() for n in experiment.algorithm.parameters]))
    assert (gradients[0] - gradients[1]).norm() <= 1e-12 * gradients[0].norm()


def test_training_learns_rates_and_resumes_exactly(tiny: Callable[..., Settings]) -> None:
    settings = tiny(
        algorithm__name="meta_sgd", training__iterations=60, evaluation__every=20, algorithm__outer_lr=0.01
    )  # fmt: skip
    trainer = Trainer(settings)
    events = list(trainer.events())
    losses = [event.meta_loss for event in events if isinstance(event, Progress)]
    assert sum(losses[-15:]) < 0.9 * sum(losses[:15])
    rates = trainer.learner.theta["inner_lr/0.weight"]
    assert rates.std() > 1e-3
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.test is not None
    assert finished.test.inner_lr is None, "there is no single inner learning rate"
    resumed(settings, trainer, at=33)


def test_more_steps_at_test_repeat_the_rates(tiny: Callable[..., Settings]) -> None:
    trainer = Trainer(tiny(algorithm__name="meta_sgd", training__iterations=5))
    list(trainer.events())
    settings = [change(trainer.settings, {"evaluation.inner_steps": steps}) for steps in (2, 6)]
    evaluations = [evaluate_state(each, trainer.state()) for each in settings]
    assert evaluations[1].loss.mean[:3] == evaluations[0].loss.mean
    assert len(evaluations[1].loss.mean) == 7


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
    experiment = set_up(changed(GLYPHS, algorithm__name=name, algorithm__inner_steps=STEPS))
    parts = trajectories(experiment, experiment.theta(), tasks=3, steps=3)
    while True:
        try:
            next(parts)
        except StopIteration as done:
            result = done.value
            break
    assert result.parameters == sum(p.numel() for p in experiment.model.parameters())
    assert all(path[0] == pytest.approx((0, 0), abs=1e-12) for path in result.paths)
