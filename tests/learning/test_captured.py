"""Whole meta-steps as CUDA graphs: everything but CUDA's own part, which a GPU has to show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch

from metatui.learning.algorithms import ALGORITHMS, MetaStep, OnDevice
from metatui.learning.algorithms.maml import MAML
from metatui.learning.events import Change, Event, Failed, Noted, Progress
from metatui.learning.experiment import set_up
from metatui.learning.graphs.captured import CapturedStep, CaptureFailed
from metatui.learning.trainer import SEEN_EVERY, Trainer
from metatui.settings import Settings

Make = Callable[..., Settings]


def repeated(function: Callable[[], None]) -> Callable[[], None]:
    """What stands for a capture: the function is run once, and again at every replay."""
    function()
    return function


def captured(settings: Settings, record: Callable[[Callable[[], None]], Callable[[], None]] = repeated) -> Trainer:
    """A trainer whose meta-steps are captured as on CUDA."""
    trainer = Trainer(settings)
    algorithm = trainer.algorithm
    assert isinstance(algorithm, MAML)
    algorithm.captures = CapturedStep(
        algorithm.engine, algorithm.flat, algorithm.outer, first_order=algorithm.first_order, record=record
    )
    return trainer


def steps(events: list[Event]) -> list[Progress]:
    return [event for event in events if isinstance(event, Progress)]


@pytest.mark.parametrize("name", ["maml", "fomaml"])
@pytest.mark.parametrize("source", ["sinusoid", "glyphs"])
def test_captured_meta_steps_are_the_eager_ones(name: str, source: str, tiny: Make) -> None:
    settings = tiny(
        task__source=source, task__shots=1, task__queries=2, task__ways=2, model__filters=2, algorithm__name=name,
        algorithm__inner_steps=2, algorithm__grad_clip=0.5, compute__precision="float64", compute__engine="batched",
    )  # fmt: skip
    eager, graphed = ALGORITHMS[name](set_up(settings)), captured(settings).algorithm
    assert graphed.captures is not None
    graphed.captures.capture(graphed.sample(range(3)), settings.algorithm)
    for start in (0, 3, 6):
        tasks = range(start, start + 3)
        expected, step = (a.meta_step(tasks, settings.algorithm, 0.01) for a in (eager, graphed))
        assert isinstance(step, OnDevice)
        assert isinstance(expected, MetaStep)
        (got,) = graphed.read([step])
        assert asdict(got) == pytest.approx(asdict(expected), rel=1e-9)
        torch.testing.assert_close(graphed.flat.vector, eager.flat.vector, rtol=1e-8, atol=1e-12)


def test_a_run_says_the_same_captured_and_eager(tiny: Make) -> None:
    settings = tiny(compute__precision="float64", training__iterations=27, evaluation__every=13)
    events = list(captured(settings).events())
    expected = steps(list(Trainer(settings).events()))
    assert [e.iteration for e in steps(events)] == list(range(1, 28))
    assert [e.meta_loss for e in steps(events)] == pytest.approx([e.meta_loss for e in expected], rel=1e-9)
    assert [e.tasks_seen for e in steps(events)] == [e.tasks_seen for e in expected]
    assert [e.iteration for e in events if isinstance(e, Noted)] == [0]


def test_nobody_waits_for_the_device_at_every_meta_step(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, read = captured(tiny(training__iterations=35, evaluation__every=0)), []
    real = trainer.algorithm.read

    def counted(waiting: list[OnDevice]) -> list[MetaStep]:
        read.append(len(waiting))
        return real(waiting)

    monkeypatch.setattr(trainer.algorithm, "read", counted)
    list(trainer.events())
    assert read == [SEEN_EVERY, SEEN_EVERY, SEEN_EVERY, 5]


def test_turning_a_rate_captures_nothing_and_other_shapes_do(tiny: Make) -> None:
    trainer, events = captured(tiny(training__iterations=40)), []
    for event in trainer.events():
        if isinstance(event, Progress) and event.iteration == 10:
            trainer.submit(Change("algorithm.inner_lr", 0.02))
        if isinstance(event, Progress) and event.iteration == 20:
            trainer.submit(Change("algorithm.inner_steps", 2))
        events.append(event)
    assert [e.iteration for e in events if isinstance(e, Noted)] == [0, 20]
    assert events[-1].iteration == 40


def test_what_diverges_is_found_where_it_happened_and_moved_nothing(
    tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny(training__iterations=20, evaluation__every=0)
    eager = Trainer(settings)
    for event in eager.events():
        if isinstance(event, Progress) and event.iteration == 4:
            expected = eager.state()
            break
    trainer = captured(settings)
    sample = trainer.experiment.training_episodes

    def broken(tasks: range) -> object:
        episodes = sample(tasks)
        if tasks.start == 12:  # the fifth meta-step
            episodes.query_y.mul_(torch.inf)
        return episodes

    monkeypatch.setattr(trainer.experiment, "training_episodes", broken)
    events = list(trainer.events())
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert failed.iteration == 4
    assert len(steps(events)) == 4
    for name, tensor in trainer.state().tensors.items():
        torch.testing.assert_close(tensor, expected.tensors[name], rtol=1e-5, atol=1e-6)


def test_a_failed_capture_leaves_the_eager_engine(tiny: Make) -> None:
    def fails(function: Callable[[], None]) -> Callable[[], None]:
        function()
        raise CaptureFailed("no CUDA graph could be captured (RuntimeError: not here)")

    settings = tiny()
    events = list(captured(settings, fails).events())
    (note,) = [e for e in events if isinstance(e, Noted)]
    assert note.text.startswith("The batched engine goes on: no CUDA graph could be captured")
    expected = steps(list(Trainer(settings).events()))
    assert [e.meta_loss for e in steps(events)] == [e.meta_loss for e in expected]
