"""Tests of DropBlock: masks, agreement of engines, and reproducibility."""

from __future__ import annotations

import pytest
import torch

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Progress, Stop
from metatui.learning.engines.registry import EngineName, make_engine
from metatui.learning.experiment import set_up
from metatui.learning.model import make_model
from metatui.learning.nn.layers import DropBlock, drop_blocks, dropping_blocks
from metatui.learning.training.trainer import Trainer
from metatui.learning.training.trainer_state import TrainerState

RESNET = change(
    Settings(),
    {
        "task.source": "glyphs", "task.ways": 2, "task.shots": 1, "task.queries": 2, "model.name": "resnet12",
        "resnet12.widths": (2, 2, 3, 3), "resnet12.drop_block": 0.3, "algorithm.meta_batch": 2,
        "algorithm.inner_steps": 1, "compute.precision": "float64", "compute.engine": "loop", "compute.threads": 1,
        "training.iterations": 3, "evaluation.every": 0, "evaluation.tasks": 2, "evaluation.test_tasks": 2,
        "evaluation.inner_steps": 1,
    },
)  # fmt: skip


def test_blocks_are_dropped_and_the_mean_is_kept() -> None:
    layer, x = DropBlock(0.2, number=1), torch.ones(8, 16, 14, 14)
    assert torch.equal(layer(x), x)
    with dropping_blocks([layer], 3):
        dropped = layer(x)
        assert torch.equal(layer(x), dropped)
    with dropping_blocks([layer], 4):
        assert not torch.equal(layer(x), dropped)
    zeros = dropped == 0
    assert 0.1 < zeros.double().mean() < 0.3
    assert dropped.mean().item() == pytest.approx(1)
    # Every dropped unit belongs to a dropped block of 5x5.
    whole = -torch.nn.functional.max_pool2d(-zeros.double(), 5, stride=1)
    covered = torch.nn.functional.max_pool2d(torch.nn.functional.pad(whole, [4] * 4), 5, stride=1)
    assert torch.equal(covered.bool(), zeros)


def test_it_is_off_by_default() -> None:
    model = make_model(change(RESNET, {"resnet12.drop_block": 0.0}), (1, 28, 28))
    assert not any(isinstance(layer, DropBlock) for layer in model.modules())
    with_blocks = make_model(RESNET, (1, 28, 28))
    assert [layer.number for layer in with_blocks.modules() if isinstance(layer, DropBlock)] == [3, 4]
    assert with_blocks.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("name", ["maml", "anil"])
def test_engines_drop_the_same_blocks(name: str) -> None:
    experiment = set_up(change(RESNET, {"algorithm.name": name}))
    episodes, theta = experiment.training_episodes(range(2)), experiment.theta()
    engines: tuple[EngineName, ...] = ("loop", "native", "batched", "unfolded")
    results = []
    for engine in engines:
        with dropping_blocks(drop_blocks(experiment.model), 7):
            made = make_engine(engine, experiment.model, experiment.loss)
            results.append(made.meta_gradient_of(experiment.algorithm, theta, episodes))
    plain = make_engine("loop", experiment.model, experiment.loss)
    assert not torch.equal(plain.meta_gradient_of(experiment.algorithm, theta, episodes).loss, results[0].loss)
    for result in results[1:]:
        torch.testing.assert_close(result.loss, results[0].loss, rtol=1e-9, atol=0)
        for key, gradient in results[0].gradients.items():
            assert (result.gradients[key] - gradient).norm() <= 1e-8 * gradient.norm() + 1e-15


def test_runs_repeat_and_resume_exactly() -> None:
    settings = change(RESNET, {"algorithm.name": "fomaml"})
    losses = [event.meta_loss for event in Trainer(settings).events() if isinstance(event, Progress)]
    saved: dict[str, TrainerState] = {}
    stopped = Trainer(settings, save=saved.__setitem__)
    for event in stopped.events():
        if isinstance(event, Progress) and event.iteration == 1:
            stopped.submit(Stop())
    resumed = Trainer(settings, state=saved["last"])
    assert [event.meta_loss for event in resumed.events() if isinstance(event, Progress)] == losses[1:]
