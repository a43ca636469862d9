"""Tests that compare meta-steps captured as CUDA graphs with eager meta-steps."""

from __future__ import annotations

import pytest
import torch

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.schedule import PlannedChange
from metatui.config.settings import Settings
from metatui.events import Finished
from metatui.learning.experiment import set_up
from metatui.learning.training.learner import Learner, MetaStep, PendingStep
from tests.cuda.device import simulator
from tests.cuda.training import SMALL_IMAGES, losses, notes, short, train, train_steps

STEPS = 6

PLAN = (
    PlannedChange(1, "algorithm.inner_lr", 0.2),
    PlannedChange(2, "algorithm.outer_lr", 0.01),
    PlannedChange(3, "algorithm.meta_batch", 3),
    PlannedChange(4, "algorithm.inner_lr", 0.05),
    PlannedChange(5, "algorithm.meta_batch", 2),
)
"""Scheduled changes of settings. Changes of learning rates keep the captured graph, and changes of the meta-batch
require another one. The last change restores the original meta-batch."""

WAVES: dict[str, Scalar] = {"model.hidden": (8, 8), "task.shots": 5, "task.queries": 5}
STRIDE: dict[str, Scalar] = {**SMALL_IMAGES, "model.downsample": "stride", "model.features": "mean"}


def small(values: dict[str, Scalar], **changes: Scalar) -> Settings:
    changes = {"compute__precision": "float64", "training__iterations": STEPS, **changes}
    return short(values, **changes)


@pytest.mark.parametrize(
    ("values", "engine", "algorithm", "second_order"),
    [
        (WAVES, "batched", "maml", "unrolled"),
        (SMALL_IMAGES, "batched", "maml", "recomputed"),
        (SMALL_IMAGES, "loop", "fomaml", "unrolled"),
        (STRIDE, "unfolded", "fomaml", "unrolled"),
        ({**SMALL_IMAGES, "task.ways_range": "2-2"}, "batched", "proto_maml", "unrolled"),
    ],
)
def test_captured_runs_match_eager_ones(
    values: dict[str, Scalar], engine: str, algorithm: str, second_order: str
) -> None:
    settings = small(
        values, compute__engine=engine, algorithm__name=algorithm, compute__second_order=second_order,
        algorithm__grad_clip=0.5,
    )  # fmt: skip
    simulator.reset()
    captured = train_steps(settings, PLAN)
    # Each graph is replayed once more, to verify that it does what was captured.
    launches = simulator.graph_launches
    assert launches == STEPS + len(simulator.captured)
    assert len(simulator.captured) == 2  # one for each size of the meta-batch
    for capture in simulator.captured:
        assert not capture.scalars, "a replay would use the value of the capture"
        assert not capture.elsewhere
    eager = train_steps(change(settings, {"compute.cuda_graphs": False}), PLAN)
    assert simulator.graph_launches == launches
    assert len(captured) == STEPS
    assert captured == pytest.approx(eager, rel=1e-9)


@pytest.mark.parametrize(
    ("values", "ranges"),
    [(WAVES, {"task__shots_range": "2-6"}), (SMALL_IMAGES, {"task__ways_range": "2-4", "task__shots_range": "1-2"})],
)
def test_runs_with_ranges_are_eager_and_match_cpu(values: dict[str, Scalar], ranges: dict[str, Scalar]) -> None:
    settings = small(values, algorithm__grad_clip=0.5, **ranges)
    expected = train_steps(change(settings, {"compute.device": "cpu"}))
    events = train(settings)
    assert losses(events) == pytest.approx(expected, rel=1e-7)
    assert isinstance(events[-1], Finished)
    assert not simulator.captured
    assert not notes(events)


def test_rates_and_clip_are_read_at_each_replay() -> None:
    settings = small(WAVES, algorithm__inner_steps=2, algorithm__grad_clip=0.5)
    eager, captured = (Learner(set_up(settings)) for _ in range(2))
    eager.captures = None
    assert captured.captures is not None
    captured.captures.capture(captured.sample(range(2)), captured.algorithm)
    torch.testing.assert_close(captured.flat.vector.cpu(), eager.flat.vector.cpu(), rtol=0, atol=0)
    for step, (inner_lr, outer_lr, clip) in enumerate([(0.01, 0.01, 0.5), (0.2, 0.003, 1e-3), (0.05, 0.02, 0.0)]):
        now = {"algorithm.inner_lr": inner_lr, "algorithm.grad_clip": clip}
        for learner in (eager, captured):
            learner.experiment.settings = change(learner.experiment.settings, now)
        tasks = range(2 * step, 2 * step + 2)
        expected, given = (learner.meta_step(tasks, outer_lr) for learner in (eager, captured))
        assert isinstance(expected, MetaStep)
        assert isinstance(given, PendingStep)
        (got,) = captured.read([given])
        assert got.meta_loss == pytest.approx(expected.meta_loss, rel=1e-9)
        assert got.grad_norm == pytest.approx(expected.grad_norm, rel=1e-9)
        torch.testing.assert_close(captured.flat.vector.cpu(), eager.flat.vector.cpu(), rtol=0, atol=1e-9)


def test_higher_is_never_captured() -> None:
    simulator.reset()
    events = train(short(WAVES, compute__engine="higher"))
    assert isinstance(events[-1], Finished)
    assert not simulator.captured
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


def test_failed_capture_restores_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = small(WAVES)
    expected = train_steps(change(settings, {"compute.cuda_graphs": False}))

    def refuse(name: str, allocated: int) -> None:
        if simulator.capture is not None:
            simulator.refuse("CUDA error: operation not permitted when stream is capturing")

    monkeypatch.setattr(simulator, "before_kernel", refuse)
    events = train(settings)
    assert losses(events) == pytest.approx(expected, rel=1e-9)
    assert any("no CUDA graph" in note for note in notes(events))
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
