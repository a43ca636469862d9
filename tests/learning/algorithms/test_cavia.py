"""Tests of CAVIA: training, evaluation, and agreement with a simple loop written from the paper."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Finished, Progress
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.registry import EngineName, make_engine
from metatui.learning.experiment import Experiment, set_up
from metatui.learning.nn.layers import FiLM, ResidualBlock
from metatui.learning.optim.inner import Params
from metatui.learning.training.trainer import Trainer
from metatui.learning.training.trainer_state import evaluate_state
from metatui.utils.errors import BadInput
from tests.learning.algorithms.learned import GLYPHS, SINUSOID, changed, differences, noisy, resumed

STEPS = 2
ENGINES: tuple[EngineName, ...] = ("loop", "native", "batched", "unfolded")
STRIDED = changed(GLYPHS, model__downsample="stride", model__norm="group", model__groups=2)


def cavia(base: Settings, **changes: int | str) -> Settings:
    return changed(base, algorithm__name="cavia", algorithm__inner_steps=STEPS, cavia__context=4, **changes)


def plain_cavia(experiment: Experiment, meta: Params, episodes: Episodes) -> tuple[Tensor, Params]:
    """Compute the mean query loss and its gradient with plain autograd (Zintgraf et al. 2019, equations 3 and 4)."""
    loss_fn = F.cross_entropy if experiment.settings.is_classification else F.mse_loss
    theta = {name: p.detach().clone().requires_grad_() for name, p in meta.items()}

    def predict(context: Tensor, x: Tensor) -> Tensor:
        for name, layer in experiment.model.named_children():
            if name == "film":
                scale, shift = torch.split(theta["film.weight"] @ context + theta["film.bias"], x.shape[1])
                channel = (1, -1, *[1] * (x.dim() - 2))
                x = x * scale.view(channel) + shift.view(channel)
            else:
                own = {key.removeprefix(f"{name}."): p for key, p in theta.items() if key.startswith(f"{name}.")}
                x = functional_call(layer, own, (x,))
        return x

    total = torch.zeros((), dtype=torch.float64)
    for x, y, query_x, query_y in zip(*episodes.tensors(), strict=True):
        context = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        for _ in range(STEPS):
            (slope,) = torch.autograd.grad(loss_fn(predict(context, x), y), context, create_graph=True)
            context = context - experiment.settings.algorithm.inner_lr * slope
        total = total + loss_fn(predict(context, query_x), query_y) / len(episodes)
    slopes = torch.autograd.grad(total, list(theta.values()))
    return total.detach(), dict(zip(theta, slopes, strict=True))


@pytest.mark.parametrize(
    "base",
    [SINUSOID, GLYPHS, STRIDED, changed(GLYPHS, model__name="mlp", model__hidden=(6, 6))],
    ids=["sinusoid", "images", "stride", "mlp for images"],
)
def test_engines_match_the_paper(base: Settings) -> None:
    experiment = set_up(cavia(base))
    meta, episodes = noisy(experiment.theta()), experiment.training_episodes(range(2))
    assert "film.context" not in meta
    loss, gradients = plain_cavia(experiment, meta, episodes)
    for name in ENGINES:
        engine = make_engine(name, experiment.model, experiment.loss)
        result = engine.meta_gradient_of(experiment.algorithm, meta, episodes)
        torch.testing.assert_close(result.loss.mean(), loss, rtol=1e-10, atol=0)
        for key, gradient in gradients.items():
            assert (result.gradients[key] - gradient).norm() <= 1e-8 * gradient.norm() + 1e-14, (name, key)
    slope = differences(lambda moved: plain_cavia(experiment, moved, episodes)[0], meta, gradients)
    assert abs(slope - 1) < 1e-6


def test_new_network_is_that_of_maml() -> None:
    for base in (SINUSOID, GLYPHS):
        ordinary, modulated = set_up(changed(base, algorithm__name="maml")), set_up(cavia(base))
        x = ordinary.training_episodes(range(1)).support_x[0]
        assert torch.equal(modulated.model(x), ordinary.model(x))


def test_only_the_context_adapts_and_starts_at_zero() -> None:
    experiment = set_up(cavia(GLYPHS))
    episodes = experiment.training_episodes(range(2))
    first, *_, last = experiment.engine.adaptation(experiment.algorithm, experiment.theta(), episodes, 3)
    assert not first.params["film.context"].any()
    moved = {name for name, p in last.params.items() if not torch.equal(p, first.params[name])}
    assert moved == {"film.context"}


def test_training_learns_and_resumes_exactly(tiny: Callable[..., Settings]) -> None:
    settings = tiny(
        algorithm__name="cavia", algorithm__inner_lr=0.5, algorithm__inner_steps=2, training__iterations=60,
        evaluation__every=0, algorithm__outer_lr=0.01,
    )  # fmt: skip
    trainer = Trainer(settings)
    events = list(trainer.events())
    losses = [event.meta_loss for event in events if isinstance(event, Progress)]
    assert sum(losses[-15:]) < 0.9 * sum(losses[:15])
    assert isinstance(events[-1], Finished)
    resumed(settings, trainer, at=33)


def test_more_steps_at_test_than_in_training(tiny: Callable[..., Settings]) -> None:
    trainer = Trainer(tiny(algorithm__name="cavia", training__iterations=5))
    list(trainer.events())
    settings = [change(trainer.settings, {"evaluation.inner_steps": steps}) for steps in (2, 6)]
    few, many = (evaluate_state(each, trainer.state()) for each in settings)
    assert many.loss.mean[:3] == few.loss.mean
    assert len(many.loss.mean) == 7


def test_resnet12_is_modulated_after_its_third_block() -> None:
    settings = cavia(change(GLYPHS, {"model.name": "resnet12", "resnet12.widths": (2, 3, 4, 5)}))
    children = list(set_up(settings).model.children())
    at = next(number for number, layer in enumerate(children) if isinstance(layer, FiLM))
    assert sum(isinstance(layer, ResidualBlock) for child in children[:at] for layer in child.modules()) == 3
    assert dict(children[at].named_parameters())["weight"].shape == (2 * 4, 4)


def test_model_without_stages_is_refused() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    with pytest.raises(BadInput, match="there is no layer to modulate"):
        set_up(cavia(SINUSOID)).algorithm.prepare_model(model, cavia(SINUSOID))
