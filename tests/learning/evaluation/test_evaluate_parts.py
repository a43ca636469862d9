"""Tests of evaluating held-out tasks in parts, because their tensors are large or after an out-of-memory error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from metatui.config.fields import parse
from metatui.config.settings import Settings
from metatui.learning.data.episodes import Episodes, Split
from metatui.learning.engines.base import Adaptation
from metatui.learning.evaluation import evaluate
from metatui.learning.evaluation.evaluate import MAX_NUMEL, largest_activation, measure
from metatui.learning.evaluation.task_views import task_views
from metatui.learning.experiment import set_up
from metatui.learning.hardware.devices import Device
from metatui.learning.model import make_model
from metatui.learning.optim.inner import Params
from metatui.utils.progress import stages
from tests.learning.evaluation.test_parameter_space import run_generator

Make = Callable[..., Settings]


def test_largest_activation() -> None:
    def largest(shape: tuple[int, ...], *, unfolded: bool = False, **changes: str | int) -> int:
        base = {"task": {"source": "omniglot", "shots": 1}, "model": changes} if len(shape) == 3 else {}
        return largest_activation(make_model(parse(base), shape), shape, unfolded=unfolded)

    assert largest((1, 28, 28)) == 64 * 28 * 28
    assert largest((1, 28, 28), filters=32, downsample="stride") == 32 * 14 * 14
    assert largest((1,)) == 40
    assert largest((1, 28, 28), unfolded=True) == 64 * 9 * 14 * 14


@pytest.mark.parametrize(("most", "parts"), [(MAX_NUMEL, [9]), (4 * 10 * 8, [4, 4, 1]), (1, [1] * 9)])
def test_gpu_tasks_are_split_by_tensor_size(
    most: int, parts: list[int], tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = set_up(tiny(task__shots=10, task__queries=4, compute__precision="float64"))
    theta, split_into = experiment.theta(), []

    def losses() -> Tensor:
        return run_generator(measure(experiment, theta, split="test", tasks=9, steps=1, shots=10))[0].loss

    def episodes(split: Split, tasks: range, *, seed: int, shots: int) -> Episodes:
        split_into.append(len(tasks))
        drawn = experiment.source.episodes(split, tasks, seed=seed, ways=1, shots=shots, queries=4)
        return drawn.to("cpu", torch.float64)

    expected = losses()
    monkeypatch.setattr(experiment, "device", Device("cuda:0", "A GPU", 2**30))
    monkeypatch.setattr(experiment, "episodes", episodes)
    monkeypatch.setattr(evaluate, "MAX_NUMEL", most)
    torch.testing.assert_close(losses(), expected)
    assert split_into == parts


def test_tasks_are_halved_when_out_of_memory(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = set_up(tiny(compute__precision="float64"))
    theta, real, given = experiment.theta(), experiment.episodes, []

    def losses() -> Tensor:
        return run_generator(measure(experiment, theta, split="test", tasks=9, steps=1, shots=10))[0].loss

    def episodes(split: Split, tasks: range, **sizes: int) -> Episodes:
        given.append(len(tasks))
        if len(tasks) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(split, tasks, **sizes)

    expected = losses()
    monkeypatch.setattr(experiment, "episodes", episodes)
    torch.testing.assert_close(losses(), expected)
    assert given == [9, 4, 4, 1]


def test_stages_of_the_set_up(tiny: Make) -> None:
    reported: list[str] = []
    with stages.listener(reported.append):
        set_up(tiny(compute__engine="auto"))
    assert reported == [
        "loading the data",
        "choosing the engine",
        "measuring engines: batched (1 of 2)",
        "measuring engines: loop (2 of 2)",
    ]


def test_progress_of_tasks_that_are_adapted_together(tiny: Make) -> None:
    experiment = set_up(tiny())
    done = list(measure(experiment, experiment.theta(), split="test", tasks=12, steps=2, shots=5))
    assert done == [3, 6, 9, 12]


@pytest.mark.parametrize("source", ["sinusoid", "glyphs"])
def test_views_are_split_when_out_of_memory(source: str, tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    images = {"task__ways": 2, "task__queries": 2, "model__filters": 2} if source == "glyphs" else {}
    experiment = set_up(tiny(task__source=source, task__shots=1, compute__precision="float64", **images))
    theta, real, given = experiment.theta(), experiment.engine.adapt, []

    def adapt(theta: Params, x: Tensor, *rest: Any) -> Iterator[Adaptation]:
        given.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(theta, x, *rest)

    expected = task_views(experiment, theta, split="val", tasks=range(5), steps=1, shots=1)
    monkeypatch.setattr(experiment.engine, "adapt", adapt)
    result = task_views(experiment, theta, split="val", tasks=range(5), steps=1, shots=1)
    assert given == [5, 2, 3, 1, 2]
    assert [view.task for view in result] == list(range(5))
    for view, whole in zip(result, expected, strict=True):
        assert view.loss == pytest.approx(whole.loss, rel=1e-9)
