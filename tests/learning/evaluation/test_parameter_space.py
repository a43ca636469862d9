"""Tests of the parameter-space view.

Its plane is compared with numpy's singular value decomposition, and its adaptation paths with plain gradient steps.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.learning.evaluation.parameter_space import flatten_stack, principal_plane, trajectories
from metatui.learning.evaluation.trajectories import AdaptationTrajectories
from metatui.learning.experiment import set_up
from metatui.learning.optim.inner import InnerLoop
from metatui.runs.analysis.parameter_space import ProjectionProgress, project_stepwise
from tests.runs.analysis.comparisons import GLYPHS, SINUSOID, train

Y = TypeVar("Y")
R = TypeVar("R")


def run_generator(work: Generator[Y, None, R]) -> tuple[R, list[Y]]:
    """Run a generator to its end, and return its result and the values that it yielded."""
    seen = []
    while True:
        try:
            seen.append(next(work))
        except StopIteration as done:
            return done.value, seen


def compute(settings: Settings = SINUSOID, tasks: int = 8, steps: int = 3) -> tuple[AdaptationTrajectories, list[int]]:
    experiment = set_up(change(settings, {"compute.precision": "float64"}))
    return run_generator(trajectories(experiment, experiment.theta(), tasks=tasks, steps=steps))


@pytest.mark.parametrize(("tasks", "dimensions"), [(3, 5), (20, 6), (12, 400), (40, 40)])
def test_plane_matches_singular_values(tasks: int, dimensions: int) -> None:
    drawn = np.random.default_rng(tasks).normal(size=(tasks, dimensions)) @ np.diag(np.linspace(3, 1, dimensions)) + 5
    plane = principal_plane(torch.from_numpy(drawn))
    _, values, axes = np.linalg.svd(drawn - drawn.mean(0), full_matrices=False)
    shares = values**2 / (values**2).sum()
    assert plane.explained == pytest.approx(tuple(shares[:2]), abs=1e-12)
    for result, expected in zip(plane.axes.numpy(), axes[:2], strict=True):
        assert abs(result @ expected) == pytest.approx(1, abs=1e-9)
        assert result[np.abs(result).argmax()] > 0


def test_line_has_no_second_component() -> None:
    line = torch.linspace(0, 1, 7).double().unsqueeze(1) * torch.tensor([[3.0, 4.0, 0.0]]).double()
    plane = principal_plane(line)
    assert plane.explained == pytest.approx((1.0, 0.0))
    assert plane.axes[0].tolist() == pytest.approx([0.6, 0.8, 0.0])
    assert not plane.axes[1].any()


def test_equal_displacements_have_no_component() -> None:
    assert principal_plane(torch.ones(4, 3)).explained == (0.0, 0.0)


def test_paths_are_projected_inner_steps() -> None:
    result, _ = compute()
    experiment = set_up(change(SINUSOID, {"compute.precision": "float64"}))
    theta = experiment.theta()
    episodes = experiment.episodes("test", range(8), seed=0, shots=10)
    inner = InnerLoop(0.01, 3)
    start = flatten_stack({name: p.unsqueeze(0) for name, p in theta.items()})
    places = [
        flatten_stack(r.params) - start
        for r in experiment.engine.adapt(theta, episodes.support_x, episodes.support_y, inner)
    ]
    ends = places[-1].numpy()
    _, _, axes = np.linalg.svd(ends - ends.mean(0), full_matrices=False)
    signs = np.sign([axis[np.abs(axis).argmax()] for axis in axes[:2]])
    expected = np.stack([place.numpy() @ axes[:2].T * signs for place in places], axis=1)
    assert np.array(result.paths) == pytest.approx(expected, abs=1e-9)
    assert result.moved == pytest.approx(tuple(np.linalg.norm(ends, axis=1)), abs=1e-12)
    assert result.parameters == ends.shape[1]
    assert all(path[0] == (0.0, 0.0) for path in result.paths)


def test_diverged_tasks_do_not_determine_the_plane() -> None:
    some, _ = compute(change(SINUSOID, {"algorithm.inner_lr": 0.25}), steps=60)
    assert [math.isfinite(distance) for distance in some.moved] == [False, *[True] * 7]
    assert [all(map(math.isfinite, path[-1])) for path in some.paths] == [False, *[True] * 7]
    assert 0 < some.explained[1] < some.explained[0] < 1
    none, _ = compute(change(SINUSOID, {"algorithm.inner_lr": 50.0}), steps=60)
    assert not any(map(math.isfinite, none.moved))
    assert none.explained == (0.0, 0.0)


def test_losses_are_query_losses() -> None:
    result, _ = compute(tasks=2, steps=1)
    experiment = set_up(change(SINUSOID, {"compute.precision": "float64"}))
    episodes = experiment.episodes("test", range(2), seed=0, shots=10)
    before = experiment.engine.outputs(
        {n: torch.stack([p, p]) for n, p in experiment.theta().items()}, episodes.query_x
    )
    assert result.before == pytest.approx((before - episodes.query_y).square().mean((1, 2)).tolist())
    assert result.gained == tuple(b - a for b, a in zip(result.before, result.after, strict=True))


def test_chunks_give_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, seen = compute(GLYPHS, tasks=4, steps=1)
    assert seen == [4, 8]
    monkeypatch.setattr("metatui.learning.evaluation.parameter_space.CHUNK", {"classification": 3})
    parts, seen = compute(GLYPHS, tasks=4, steps=1)
    assert seen == [3, 4, 7, 8]
    assert np.array(parts.paths) == pytest.approx(np.array(whole.paths), abs=1e-9)
    assert parts.moved == pytest.approx(whole.moved)


def test_run_is_compared_with_its_initialisation(tmp_path: Path) -> None:
    run = train(tmp_path)
    before = {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
    space, seen = run_generator(project_stepwise(run, tasks=4))
    assert seen == [ProjectionProgress(done, 16) for done in (4, 8, 12, 16)]
    experiment = set_up(change(SINUSOID, {}))
    first, _ = run_generator(trajectories(experiment, experiment.theta(), tasks=4, steps=2))
    assert space.ordinary.cloud == first
    assert space.learned.cloud.moved != space.ordinary.cloud.moved
    assert (space.learned.label, space.steps) == ("MAML", 2)
    assert {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()} == before
