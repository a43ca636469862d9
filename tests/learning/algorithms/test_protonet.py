"""Tests of ProtoNet: training, adaptation, and agreement with a simple loop written from the paper."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from metatui.config.fields import change
from metatui.learning.algorithms.protonet import ProtoNet, prototypes
from metatui.learning.evaluation.evaluate import predictions
from metatui.learning.experiment import set_up
from metatui.learning.optim.inner import Params
from metatui.learning.training.trainer import Trainer
from metatui.runs.analysis.evaluate import evaluate
from metatui.runs.analysis.parameter_space import project_stepwise
from metatui.utils.errors import BadInput, SettingsError
from tests.learning.algorithms.references import (
    IMAGES,
    LEARNING,
    WAVES,
    Forward,
    check_adaptation,
    check_meta_gradient,
    check_training,
    engines_of,
    noisy,
    settings_of,
)
from tests.runs.analysis.comparisons import GLYPHS, train

WAYS = 3
FEATURES = 3
"""Number of features that enter the head of the small network.

Its four blocks reduce an image of 28 x 28 pixels to one pixel with three channels.
"""


def embedded(forward: Forward, theta: Params, x: Tensor) -> Tensor:
    """Return the inputs of the last layer by replacing this layer with the identity."""
    head = {"17.weight": torch.eye(FEATURES, dtype=x.dtype), "17.bias": torch.zeros(FEATURES, dtype=x.dtype)}
    return forward({**theta, **head}, x)


def distances(forward: Forward, theta: Params, x: Tensor, y: Tensor, query_x: Tensor) -> Tensor:
    """Return the squared distance of each query example to each prototype (Snell et al. 2017, equation 1)."""
    features = embedded(forward, theta, x)
    prototypes = torch.stack([features[y == k].mean(0) for k in range(WAYS)])
    return torch.stack([(embedded(forward, theta, q) - c).square().sum(-1) for q in [query_x] for c in prototypes], -1)


def protonet(forward: Forward, theta: Params, task: tuple[Tensor, ...]) -> Tensor:
    """Compute the loss J of Algorithm 1 in Snell et al. (2017)."""
    x, y, query_x, query_y = task
    d = distances(forward, theta, x, y, query_x)
    own = d.gather(1, query_y.unsqueeze(1)).squeeze(1)
    return (own + torch.logsumexp(-d, dim=1)).mean()


def test_engines_agree_with_the_paper() -> None:
    check_meta_gradient(settings_of(IMAGES, "protonet"), protonet)


def test_training() -> None:
    check_training(settings_of(LEARNING["images"], "protonet"))


def test_adaptation_sets_the_head_at_the_first_step() -> None:
    check_adaptation(settings_of(IMAGES, "protonet"))
    experiment = set_up(settings_of(IMAGES, "protonet"))
    meta = noisy(experiment.theta())
    assert not any(name.startswith("17.") for name in meta)
    episodes = experiment.training_episodes(range(2))

    def forward(params: Params, x: Tensor) -> Tensor:
        outputs: Tensor = torch.func.functional_call(experiment.model, params, (x,))
        return outputs

    for engine in engines_of(experiment).values():
        path = list(engine.adaptation(experiment.algorithm, meta, episodes, 3))
        outputs = [engine.predictions(experiment.algorithm, s.params, episodes, episodes.query_x) for s in path]
        assert torch.equal(outputs[0], torch.zeros_like(outputs[0]))
        assert torch.equal(outputs[1], outputs[3])
        for t, (x, y, query_x, _) in enumerate(zip(*episodes.tensors(), strict=True)):
            expected = -distances(forward, meta, x, y, query_x)
            torch.testing.assert_close(outputs[1][t].log_softmax(-1), expected.log_softmax(-1))


def test_one_step_in_training_and_evaluation() -> None:
    settings = settings_of(IMAGES, "protonet", algorithm__inner_steps=7, evaluation__inner_steps=9)
    trainer = Trainer(change(settings, {"training.iterations": 2}))
    events = list(trainer.events())
    assert (trainer.experiment.algorithm.inner_steps, trainer.experiment.algorithm.evaluation_steps) == (1, 1)
    test = events[-1].test  # type: ignore[union-attr]
    assert test is not None
    assert (test.steps, test.inner_lr) == ((0, 1), None)
    assert test.loss.mean[0] == pytest.approx(math.log(WAYS))


def test_support_loss_is_that_of_a_head_of_zeros() -> None:
    experiment = set_up(settings_of(IMAGES, "protonet"))
    result = experiment.engine.meta_gradient_of(
        experiment.algorithm, experiment.theta(), experiment.training_episodes(range(2))
    )
    torch.testing.assert_close(result.support_loss, torch.full((2,), math.log(WAYS), dtype=torch.float64))


def test_batch_norm_per_example() -> None:
    """Check that a prediction with `per_example` batch norm does not depend on the other query examples."""
    experiment = set_up(settings_of(IMAGES, "protonet", evaluation__batch_norm="per_example"))
    meta, episodes = noisy(experiment.theta()), experiment.training_episodes(range(2))
    changed = replace(episodes, query_x=episodes.query_x.clone())
    changed.query_x[:, 1:] += 1
    (_, (_, before)), (_, (_, after)) = (predictions(experiment, meta, each, 1) for each in (episodes, changed))
    torch.testing.assert_close(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1])


def test_prototype_of_a_missing_class_is_zero() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert prototypes(features, torch.tensor([0, 0]), 2).tolist() == [[2.0, 3.0], [0.0, 0.0]]


def test_inner_steps_of_a_run_are_refused(tmp_path: Path) -> None:
    run = train(tmp_path, GLYPHS, algorithm__name="protonet")
    sentence = "evaluation.inner_steps is 3, but ProtoNet, the algorithm of this run, ignores it"
    with pytest.raises(SettingsError, match=sentence):
        evaluate(run, steps=3)
    with pytest.raises(
        SettingsError, match=r"algorithm\.inner_lr is 0\.1, but .* it has no effect with these settings"
    ):
        evaluate(run, inner_lr=0.1)
    with pytest.raises(BadInput, match="ProtoNet does not adapt with inner steps, so there are no paths to show"):
        next(project_stepwise(run))


def test_regression_is_refused() -> None:
    with pytest.raises(SettingsError) as refused:
        settings_of(WAVES, "protonet")
    assert str(refused.value) == (
        "algorithm.name is 'protonet', but must be another algorithm if task.source = 'sinusoid': ProtoNet is "
        "for classification only"
    )


def test_model_without_a_linear_head_is_refused() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))
    with pytest.raises(BadInput, match="ProtoNet needs a model whose last layer is linear with a bias"):
        ProtoNet(settings_of(IMAGES, "protonet"), model)
