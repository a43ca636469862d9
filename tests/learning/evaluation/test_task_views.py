"""Tests of the views of held-out regression tasks from data sets that define no units, such as those of plugins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from metatui.config.fields import parse
from metatui.events import CurveView, ScatterView, TaskView
from metatui.learning.data.episodes import Episodes, Split, TaskSource
from metatui.learning.evaluation.task_views import MAX_POINTS, MAX_TARGETS, task_views
from metatui.learning.experiment import set_up
from metatui.learning.model import make_model


class Lines(TaskSource):
    """A source of tasks that are straight lines through the origin, with a different slope for each target."""

    kind = "regression"
    input_shape = (1,)

    def __init__(self, targets: int) -> None:
        self.targets = targets

    def episodes(
        self, split: Split, tasks: Sequence[int], *, seed: int, ways: int, shots: int, queries: int
    ) -> Episodes:
        slopes = torch.tensor(tasks).view(-1, 1, 1) + torch.arange(self.targets)

        def points(count: int) -> tuple[torch.Tensor, torch.Tensor]:
            x = torch.linspace(-1, 1, count).view(1, count, 1).expand(len(tasks), -1, -1)
            return x, x * slopes

        return Episodes(*points(shots), *points(queries))

    def describe(self, split: Split, task: int, *, seed: int, ways: int) -> str:
        return f"slope {task}"

    def pooled_batch(self, batch: int, *, seed: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        raise NotImplementedError


def views(targets: int, queries: int) -> tuple[TaskView, ...]:
    settings = parse({"task": {"queries": queries}, "compute": {"device": "cpu", "engine": "batched"}})
    model = make_model(settings, (1,), targets)  # only the head depends on the number of targets
    theta = {name: p.detach() for name, p in model.named_parameters()}
    experiment = replace(set_up(settings), source=Lines(targets))
    return task_views(experiment, theta, split="test", tasks=[3, 1], steps=2, shots=5)


def test_one_target_is_a_curve() -> None:
    for view, slope in zip(views(1, 7), (3, 1), strict=True):
        assert isinstance(view, CurveView)
        assert (view.title, view.loss_name) == (f"slope {slope}", "MSE")
        assert (view.x_label, view.y_label) == ("input 1", "target 1")
        assert view.query_y == pytest.approx([slope * x for x in view.query_x])
        assert (view.grid[0], view.grid[-1], len(view.predictions)) == (-1, 1, 3)


def test_scatter_is_limited() -> None:
    (view, _) = views(6, 60)
    assert isinstance(view, ScatterView)
    assert len(view.targets) == 6
    assert len(view.truth) == MAX_TARGETS
    assert {len(row) for row in view.truth} == {MAX_POINTS // MAX_TARGETS}
    assert len(view.predictions) == 3
    first = torch.linspace(-1, 1, 60)[: MAX_POINTS // MAX_TARGETS]
    for target, row in enumerate(view.truth):
        assert row == pytest.approx((first * (3 + target)).tolist())
