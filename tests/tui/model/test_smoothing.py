"""Tests that smoothed training curves are exponential moving averages, equal for live, reopened and compared runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from metatui.config.settings import Settings
from metatui.events import Command, Event, Progress, Started
from metatui.runs.analysis.comparison.training_curves import read_steps, training_curve
from metatui.runs.execution.control.messages import Hello
from metatui.runs.storage.metrics import MetricsWriter
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.tui.controllers.run_client import RunClient
from metatui.tui.model.history import History
from metatui.tui.model.replay import Replay
from metatui.tui.model.run_model import RunModel
from metatui.utils.smoothing import DECAYS
from tests.tui.fakes import progress, started_event
from tests.utils.test_smoothing import definition


class PartialRun:
    """Fake connection to a run that sends only the given events, which need not include every meta-step."""

    hello = Hello(protocol=1, run="run", pid=0, host="", phase="running", iteration=0, settings=Settings())

    def __init__(self, run: RunFolder, events: Sequence[Event]) -> None:
        self.run, self._events = run, events

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def submit(self, command: Command) -> None:
        pass

    def close(self) -> None:
        pass


def noisy_progress(iteration: int, seed: int = 0) -> Progress:
    """Return the progress of a meta-step whose meta-loss is noisy and rounded as in the metrics file."""
    step = progress(iteration)
    noisy = step.meta_loss * (1.2 + math.sin(iteration * (seed + 12.9898)))
    return replace(step, meta_loss=float(f"{noisy:.9g}"), accuracy=None)


def write(run: RunFolder, steps: Sequence[Progress], *, after: int = 0) -> None:
    writer = MetricsWriter(run.metrics_path, after=after)
    for step in steps:
        writer.append(step)
    writer.close()


def follow(run: RunFolder, events: Sequence[Event], model: RunModel | None = None) -> RunModel:
    """Let the app's run client receive `events` of `run`, and return the updated model."""
    client, model = RunClient(), model or RunModel(Settings())
    client.begin(lambda: PartialRun(run, events), model)
    assert client.receiver is not None
    client.receiver.over.wait()
    client.drain()
    return model


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunStore(tmp_path).create(Settings())


def assert_agrees(history: History, values: Sequence[float]) -> None:
    for decay in DECAYS:
        expected = definition(values, decay)
        for width in (10, 200):
            points = history.points(width, smoothing=decay)
            assert points
            for point in points:
                assert point.mean == pytest.approx(expected[int(point.x) - 1], rel=1e-9)


def test_live_reopened_and_compared_match_definition(run: RunFolder) -> None:
    steps = [noisy_progress(iteration) for iteration in range(1, 5001)]
    losses = [step.meta_loss for step in steps]
    write(run, steps)
    # With gaps, as if this process were too slow for the run.
    told = [step for step in steps if not (700 < step.iteration <= 900 or step.iteration % 1000 == 1)]
    live = follow(run, told).meta_loss
    reopened = Replay(run).read().meta_loss
    assert_agrees(live, losses)
    assert_agrees(reopened, losses)
    curve = training_curve(read_steps(run), 50)
    assert curve is not None
    for averages, decay in zip(curve.averages, DECAYS, strict=True):
        expected = definition(losses, decay)
        assert averages.meta_loss == pytest.approx([expected[i - 1] for i in curve.iterations], rel=1e-9)
        assert live.points(200, smoothing=decay)[-1].mean == pytest.approx(averages.meta_loss[-1], rel=1e-12)
    expected = definition(losses, 1 - 2 / 51)
    assert curve.meta_loss == pytest.approx([expected[i - 1] for i in curve.iterations], rel=1e-9)


def test_attached_run_continues_from_file(run: RunFolder) -> None:
    steps = [noisy_progress(iteration) for iteration in range(1, 301)]
    write(run, steps[:200])
    model = Replay(run).read()
    write(run, steps[200:], after=200)
    assert_agrees(follow(run, steps[220:], model).meta_loss, [step.meta_loss for step in steps])


def test_resumed_run_is_averaged_from_its_checkpoint(run: RunFolder) -> None:
    first = [noisy_progress(iteration) for iteration in range(1, 201)]
    again = [noisy_progress(iteration, seed=1) for iteration in range(151, 301)]
    write(run, first)
    model = Replay(run).read()
    write(run, again, after=150)
    live = follow(run, [Started(Settings(), "cpu", "cpu", "batched", "", 1, 150), *again], model).meta_loss
    losses = [step.meta_loss for step in [*first[:150], *again]]
    assert_agrees(live, losses)
    assert_agrees(Replay(run).read().meta_loss, losses)


def test_no_average_while_earlier_meta_steps_are_missing(run: RunFolder) -> None:
    steps = [noisy_progress(iteration) for iteration in range(1, 101)]
    write(run, steps[:50])
    live = follow(run, [started_event(Settings()), *steps[60:]]).meta_loss
    assert live.points(200, smoothing=0.9)[-1].x == 50
    assert live.points(200)[-1].x == 100


def test_curve_of_a_run_that_diverged_ends_in_a_gap(run: RunFolder) -> None:
    steps = [replace(noisy_progress(i), meta_loss=math.nan if i > 1500 else 1.0) for i in range(1, 2001)]
    write(run, steps)
    for decay in DECAYS:
        means = [point.mean for point in Replay(run).read().meta_loss.points(2000, smoothing=decay)]
        assert means[0] == 1.0
        assert math.isnan(means[-1])
    curve = training_curve(read_steps(run), 19)
    assert curve is not None
    assert curve.meta_loss[0] == 1.0
    assert math.isnan(curve.meta_loss[-1])
