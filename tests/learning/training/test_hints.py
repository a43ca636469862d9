"""Tests of hints about synthetic runs: each hint is given once if it applies, and not otherwise."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Curve, Evaluated, Evaluation, Event, Hinted, Progress, Started, Tweaked
from metatui.learning.training.best_model import BestModel
from metatui.learning.training.hints import Hints
from metatui.utils.errors import BadInput

EVERY = 100
REGRESSION = Settings()
IMAGES = change(Settings(), {"task.source": "glyphs", "algorithm.inner_lr": 0.4})


@dataclass(frozen=True)
class Block:
    """A series of meta-steps and the validation that follows it."""

    meta_loss: float
    validation: float
    """Validation metric after each inner step. At step 0, before adaptation, the metric has a fixed value."""
    half: float = 0.05
    """Half-width of the confidence interval of the validation metric."""
    diverged: int = 0
    moved: float = 0.5
    spread: float = 0.1
    """Amplitude with which the meta-losses alternate around `meta_loss`."""
    final: float | None = None
    """Validation metric after the last inner step, or None if it equals `validation`."""
    accuracy: float | None = None
    """Accuracy of each meta-step on training tasks."""


def blocks(meta_losses: Sequence[float], validations: Sequence[float], half: float = 0.05) -> list[Block]:
    pairs = zip(meta_losses, validations, strict=True)
    return [Block(meta_loss, validation, half) for meta_loss, validation in pairs]


def history(run: Sequence[Block], settings: Settings) -> list[tuple[Event, float]]:
    """Return the events of a run.

    Each event is paired with the distance that the parameters have moved, relative to the norm of their initial values.
    """
    events: list[tuple[Event, float]] = []
    for number, block in enumerate(run):
        for step in range(number * EVERY + 1, (number + 1) * EVERY + 1):
            loss = block.meta_loss + block.spread * (-1) ** step
            events.append((Progress(step, loss, block.accuracy, loss, 1.0, 0.001, 4 * step, step / 100), block.moved))
        events.append((Evaluated(validation(block, (number + 1) * EVERY, settings), (), False), block.moved))
    return events


def validation(block: Block, iteration: int, settings: Settings) -> Evaluation:
    images = settings.is_classification
    last = block.validation if block.final is None else block.final
    curve = Curve((0.2 if images else 4.0, *[block.validation] * 9, last), (block.half,) * 11)
    return Evaluation(
        split="val", tasks=settings.evaluation.tasks, shots=5, queries=10, ways=5 if images else None,
        batch_norm=None, iteration=iteration, steps=tuple(range(11)), loss=curve,
        accuracy=curve if images else None, seconds=1.0, diverged=block.diverged,
    )  # fmt: skip


class Monitored:
    """Collects the hints about a run whose events are created by a test."""

    def __init__(self, settings: Settings, *, has_batch_norm: bool = False) -> None:
        self.settings = settings
        self.moved = 0.0
        self.hints = Hints(lambda: self.moved, has_batch_norm=has_batch_norm)
        self.model = BestModel()

    def see(self, *events: Event) -> list[Hinted]:
        given: list[Hinted] = []
        for event in events:
            if isinstance(event, Evaluated):
                event = replace(event, best=self.model.update(event.evaluation, {}, self.settings))
            if isinstance(event, Tweaked):
                self.settings = change(self.settings, {event.path: event.new})
            given += self.hints.hints_for(event, self.settings, self.model)
        return given

    def run(self, run: Sequence[Block]) -> list[Hinted]:
        given = []
        for event, moved in history(run, self.settings):
            self.moved = moved
            given += self.see(event)
        return given


def hints(run: Sequence[Block], settings: Settings = REGRESSION) -> list[tuple[str, int, str, Scalar]]:
    """Return the kind, meta-step, setting and suggested value of each hint that is given during a run."""
    return [(hint.kind, hint.iteration, hint.path, hint.new) for hint in Monitored(settings).run(run)]


LEARNS = blocks([4.0, 2.0, 1.0, 0.8, 0.7, 0.7, 0.68, 0.7], [3.8, 1.5, 0.9, 0.7, 0.66, 0.7, 0.64, 0.68])
LEARNS_IMAGES = blocks([1.6, 0.8, 0.4, 0.2, 0.1, 0.1, 0.08, 0.08], [0.4, 0.6, 0.8, 0.9, 0.93, 0.92, 0.93, 0.92])


@pytest.mark.parametrize(("run", "settings"), [(LEARNS, REGRESSION), (LEARNS_IMAGES, IMAGES)])
def test_no_hint_for_a_run_that_learns(run: list[Block], settings: Settings) -> None:
    assert hints(run, settings) == []


SLOW = [Progress(step, 1.0, None, 1.0, 1.0, 0.001, 4 * step, 0.7 * step) for step in range(1, 401)]
"""The progress events of 400 meta-steps that take 700 ms each."""


@pytest.mark.parametrize(("measured", "count"), [(71.2, 1), (234.0, 0), (None, 0)])
def test_meta_steps_that_take_longer_than_measured(measured: float | None, count: int) -> None:
    run = Monitored(change(IMAGES, {"compute.threads": 2}))
    run.hints = Hints(lambda: 0.0, has_batch_norm=False, measured_ms=measured)
    given = run.see(*SLOW)
    assert [(hint.kind, hint.iteration, hint.path, hint.new) for hint in given] == [
        ("slowed_down", 87, "compute.threads", 1)
    ] * count
    assert all(hint.reason.startswith("Meta-steps take 700 ms, but took 71.2 ms when") for hint in given)


def test_measured_time_is_not_compared_after_another_kind_of_meta_step() -> None:
    run = Monitored(change(IMAGES, {"compute.threads": 2}))
    run.hints = Hints(lambda: 0.0, has_batch_norm=False, measured_ms=71.2)
    assert not run.see(*SLOW[:50], Tweaked(50, "algorithm.meta_batch", 4, 32), *SLOW[50:])


def test_parameters_that_hardly_move() -> None:
    slow = [replace(block, moved=0.0005 * number) for number, block in enumerate(blocks([4.0] * 6, [3.9] * 6), 1)]
    reptile = change(REGRESSION, {"algorithm.name": "reptile"})
    assert hints(slow, reptile) == [("hardly_moving", 100, "algorithm.outer_lr", 0.1)]
    assert hints(slow, REGRESSION) == [("hardly_moving", 100, "algorithm.outer_lr", 0.01)], "it is the usual rate"
    small = change(REGRESSION, {"algorithm.inner_lr": 1e-6})
    assert hints(slow, small) == [("hardly_moving", 100, "algorithm.inner_lr", 0.01)]
    (hint,) = Monitored(reptile).run(slow)
    assert hint.reason == "The parameters hardly move: 100 meta-steps changed them by 0.05 %"


def test_movement_is_judged_once_and_for_random_parameters_only() -> None:
    stops = [Block(4.0, 3.9, moved=0.5), *[Block(0.5, 0.4, moved=0.0)] * 3]
    assert hints(stops) == []
    slow = [Block(4.0, 3.9, moved=0.0005)]
    assert hints(slow, change(REGRESSION, {"model.weights": "/weights.safetensors"})) == []
    assert hints(slow, change(REGRESSION, {"training.iterations": 50_000})) == []


def test_diverged_tasks() -> None:
    run = [Block(1.0, 1.0), *[Block(1.0, 1.0, diverged=3)] * 4]
    monitored = Monitored(REGRESSION)
    monitored.model.settings = None
    (hint,) = monitored.run(run)
    assert (hint.kind, hint.iteration, hint.reason) == (
        "diverging", 300, "Tasks diverged in two validations in a row (3 of 100 in the last)",
    )  # fmt: skip
    assert (hint.path, hint.old, hint.new) == ("algorithm.inner_lr", 0.01, 0.005)
    assert hints([Block(1.0, 1.0), Block(1.0, 1.0, diverged=3), Block(1.0, 1.0), Block(1.0, 1.0, diverged=3)]) == []


def test_training_that_diverges() -> None:
    rises = blocks([1.0, 0.5, 0.4, 2.0, 3.0, 5.0], [1.0, 0.5, 0.4, 2.0, 3.0, 5.0])
    assert hints(rises) == [("diverging", 500, "algorithm.outer_lr", 0.0005)]
    raised = Monitored(REGRESSION)
    assert raised.run(rises[:3]) == []
    raised.see(Tweaked(300, "algorithm.outer_lr", 0.001, 0.1))
    events = [event for event, _ in history(rises, REGRESSION)[3 * (EVERY + 1) :]]
    (hint,) = raised.see(*events)
    assert (hint.path, hint.old, hint.new) == ("algorithm.outer_lr", 0.1, 0.001)
    reason = "Training is diverging: the mean meta-loss since the last validation is 3, up from a low of 0.4"
    assert hint.reason == reason


@pytest.mark.parametrize(
    ("meta_losses", "validations"),
    [
        ([1.0, 0.5, 0.4, 2.0, 0.4, 2.0, 0.4], [1.0, 0.5, 0.4, 2.0, 0.4, 2.0, 0.4]),  # single spikes
        ([1.0, 0.5, 0.4, 2.0, 3.0, 5.0, 5.0], [1.0, 0.5, 0.4, 0.4, 0.41, 0.42, 0.4]),  # only in training
        ([4.0, 3.0, 3.5, 3.8, 4.1, 4.0, 4.0], [4.0, 3.0, 3.5, 3.8, 4.1, 4.0, 4.0]),  # a small increase
    ],
)
def test_training_that_does_not_diverge(meta_losses: list[float], validations: list[float]) -> None:
    assert hints(blocks(meta_losses, validations)) == []


def test_changed_inner_steps_are_no_divergence() -> None:
    monitored = Monitored(change(REGRESSION, {"algorithm.inner_steps": 5}))
    first, then = blocks([1.0, 0.3], [1.0, 0.3]), blocks([1.0, 0.3, 3.0, 3.0, 3.0], [1.0, 0.3, 2.0, 2.0, 2.0])
    assert monitored.run(first) == []
    events = [event for event, _ in history(then, REGRESSION)[2 * (EVERY + 1) :]]
    assert monitored.see(Tweaked(200, "algorithm.inner_steps", 5, 1), *events) == []


def test_overfitting() -> None:
    losses = [1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02]
    assert hints(blocks(losses, [1.0, 0.6, 0.5, 0.58, 0.7, 0.8, 0.9])) == [
        ("overfitting", 600, "training.iterations", 600)
    ]
    (hint,) = Monitored(IMAGES).run(blocks(losses, [0.4, 0.6, 0.8, 0.75, 0.65, 0.6, 0.55], half=0.02))
    assert hint.reason == (
        "Overfitting: training improves, but the validation result is 60.0 ± 2.0 %, worse than 80.0 ± 2.0 % at "
        "meta-step 300; the final test uses the parameters of that meta-step"
    )


@pytest.mark.parametrize(
    ("meta_losses", "validations", "half"),
    [
        ([1.0, 0.5, 0.3, 0.2, 0.1, 0.05], [1.0, 0.6, 0.5, 0.52, 0.55, 0.58], 0.05),  # within the intervals
        ([1.0, 0.5, 0.3, 0.3, 0.3, 0.3], [1.0, 0.6, 0.5, 0.7, 0.8, 0.9], 0.05),  # training does not improve
        ([1.0, 0.5, 0.3, 0.2, 0.1, 0.05], [1.0, 0.6, 0.5, 0.7, 0.5, 0.7], 0.05),  # not in a row
    ],
)
def test_no_overfitting(meta_losses: list[float], validations: list[float], half: float) -> None:
    assert hints(blocks(meta_losses, validations, half)) == []


def test_more_inner_steps_than_in_training_are_not_overfitting() -> None:
    """Check that the only hint is about inner steps if only the result after the last inner step becomes worse.

    This happens if training uses fewer inner steps than validation.
    """
    losses = [1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02]
    finals = [1.0, 0.6, 0.5, 0.7, 0.8, 0.9, 1.0]
    run = [Block(loss, 0.5, final=final) for loss, final in zip(losses, finals, strict=True)]
    assert hints(run) == [("worsening_steps", 600, "evaluation.inner_steps", 1)]


def test_overfitting_with_wide_intervals() -> None:
    """Check that a loss that stays several times as high as the best one is reported, even if intervals overlap."""
    losses = [0.5, 0.3, 0.1, 0.09, 0.08, 0.07, 0.06, 0.05, 0.04, 0.03]
    rises = [0.05, 0.03, 0.013, 0.02, 0.025, 0.03, 0.032, 0.034, 0.038, 0.04]
    (hint,) = Monitored(REGRESSION).run(blocks(losses, rises, half=0.015))
    assert (hint.kind, hint.iteration, hint.path) == ("overfitting", 800, "training.iterations")
    assert "the validation result is 0.034 ± 0.015, worse than 0.013 ± 0.015 at meta-step 300" in hint.reason
    wavers = [0.05, 0.03, 0.013, 0.02, 0.025, 0.03, 0.018, 0.034, 0.038, 0.04]
    assert hints(blocks(losses, wavers, half=0.015)) == []
    not_learned = [0.5, 0.3, *[0.1] * 8]
    assert hints(blocks(not_learned, rises, half=0.015)) == []


def gap(training: float | Sequence[float], validations: Sequence[float], half: float = 0.03) -> list[Block]:
    """Return blocks of a classification run with these accuracies in training and in validation."""
    accuracies = [training] * len(validations) if isinstance(training, float) else training
    pairs = zip(accuracies, validations, strict=True)
    return [Block(0.01, value, half, spread=0.001, accuracy=accuracy) for accuracy, value in pairs]


PROTONET_ON_FEW_CLASSES = gap([0.7, 0.98, 1.0, 1.0, 1.0, 1.0, 1.0], [0.55, 0.593, 0.602, 0.602, 0.609, 0.609, 0.611])
"""Accuracies of ProtoNet on four training classes: the validation accuracy never becomes worse."""
MAML_ON_FEW_CLASSES = gap([0.64, 0.92, 0.96, 0.98, 0.985, 0.988], [0.58, 0.62, 0.66, 0.64, 0.62, 0.595])


@pytest.mark.parametrize(("run", "at"), [(PROTONET_ON_FEW_CLASSES, 400), (MAML_ON_FEW_CLASSES, 500)])
def test_training_far_ahead_of_validation_is_overfitting(run: list[Block], at: int) -> None:
    (hint,) = Monitored(IMAGES).run(run)
    assert (hint.kind, hint.iteration, hint.path, hint.new) == ("overfitting", at, "training.iterations", at)
    assert hint.reason.startswith("Overfitting: the accuracy is ")
    assert hint.reason.endswith(
        " % on validation tasks, and has not clearly improved in three validations; more training classes would help "
        "more than more meta-steps"
    )


@pytest.mark.parametrize(
    "run",
    [
        gap(0.99, [0.84, 0.83, 0.82, 0.84, 0.85]),  # the gap is within the interval
        gap(0.94, [0.55] * 5),  # training can still improve
        gap(0.99, [0.5, 0.57, 0.64, 0.71, 0.78, 0.8]),  # validation improves
        gap([0.99, 0.99, 0.9, 0.99, 0.99], [0.6] * 5),  # not in a row
        gap(1.0, [0.6] * 5, half=math.inf),
    ],
)
def test_training_not_far_ahead_of_validation(run: list[Block]) -> None:
    assert [hint for hint in Monitored(IMAGES).run(run) if hint.kind == "overfitting"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"task.ways_range": "2-5"},  # smaller training tasks
        {"evaluation.shots": 1, "task.shots": 5},
        {"evaluation.batch_norm": "per_example"},  # harder than in training
    ],
)
def test_easier_training_tasks_are_not_reported_as_overfitting(changes: dict[str, Scalar]) -> None:
    monitored = Monitored(change(IMAGES, changes), has_batch_norm=True)
    assert monitored.run(PROTONET_ON_FEW_CLASSES) == []
    protonet = {"algorithm.name": "protonet"} | changes
    given = Monitored(change(IMAGES, protonet), has_batch_norm=True).run(PROTONET_ON_FEW_CLASSES)
    assert len(given) == ("evaluation.batch_norm" in changes), "the published ProtoNet"


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_not_overfitting(seed: int) -> None:
    """Check that no hint is given if validation results vary randomly while training keeps improving."""
    random = Random(seed)
    losses = [1.0 * 0.97**n for n in range(30)]
    regression = [0.4 * math.exp(random.gauss(0, 0.1)) for _ in losses]
    assert hints(blocks(losses, regression, half=0.08)) == []
    images = gap([1 - 0.1 * loss for loss in losses], [random.gauss(0.84, 0.02) for _ in losses])
    assert hints(images, IMAGES) == []


def test_worsening_inner_steps() -> None:
    worse = [Block(1.0, 0.76, half=0.03, final=0.56)] * 3
    (hint,) = Monitored(IMAGES).run(worse)
    assert (hint.kind, hint.iteration, hint.path, hint.old, hint.new) == (
        "worsening_steps", 300, "evaluation.inner_steps", 10, 1,
    )  # fmt: skip
    assert hint.reason == (
        "Adaptation to validation tasks makes the result worse after inner step 1: it is 76.0 ± 3.0 % after 1 inner "
        "step and 56.0 ± 3.0 % after 10; training uses 1 inner step"
    )
    assert hints([Block(1.0, 0.5, final=0.9)] * 3) == [("worsening_steps", 300, "evaluation.inner_steps", 1)]
    for run in (
        worse[:2],
        [*worse[:2], Block(1.0, 0.76, half=0.03, final=0.76), *worse[:2]],  # not in a row
        [replace(block, final=0.71) for block in worse],  # within the intervals
        [replace(block, final=0.9) for block in worse],
    ):
        assert hints(run, IMAGES) == []


def test_noisy_validation() -> None:
    few = change(REGRESSION, {"evaluation.tasks": 10})
    noisy = [Block(1.0, 0.5, half=0.45)] * 3
    assert hints(noisy, few) == [("noisy_validation", 200, "evaluation.tasks", 100)]
    assert hints([Block(1.0, 0.5, half=0.45), Block(1.0, 0.5), Block(1.0, 0.5, half=0.45)], few) == []
    few_images = change(IMAGES, {"evaluation.tasks": 10})
    (hint,) = Monitored(few_images).run([Block(1.0, 0.6, half=0.1)] * 3)
    assert (hint.reason, hint.new) == ("Validation is noisy: 60 ± 10 % with 10 tasks", 150)
    infinite = [Block(1.0, 0.5, half=float("inf"))] * 2
    assert hints(infinite, few) == [("noisy_validation", 200, "evaluation.tasks", 2000)]


@pytest.mark.parametrize(
    ("name", "mode", "has_batch_norm", "expected"),
    [
        ("protonet", "transductive", True, "per_example"),
        ("protonet", "per_example", True, None),
        ("protonet", "transductive", False, None),
        ("maml", "per_example", True, "transductive"),
        ("maml", "transductive", True, None),
        ("reptile", "per_example", True, None),  # both are published
    ],
)
def test_batch_norm_mode(name: str, mode: str, has_batch_norm: bool, expected: str | None) -> None:
    settings = change(IMAGES, {"algorithm.name": name, "evaluation.batch_norm": mode})
    monitored = Monitored(settings, has_batch_norm=has_batch_norm)
    start = Started(settings, "cpu", "a CPU", "batched", "", 100, 0)
    given = monitored.see(start)
    assert [(hint.kind, hint.path, hint.new) for hint in given] == (
        [("batch_norm", "evaluation.batch_norm", expected)] if expected else []
    )
    assert monitored.see(start) == [], "a resumed run does not repeat it"


def test_resumed_run_gives_the_same_hints() -> None:
    run = [
        *blocks([1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02], [1.0, 0.6, 0.5, 0.58, 0.7, 0.8, 0.9], half=0.06),
        *[Block(0.02, 0.5, half=0.45, diverged=1)] * 3,
    ]
    events = history(run, REGRESSION)
    expected = Monitored(REGRESSION).run(run)
    assert {hint.kind for hint in expected} == {"overfitting", "diverging", "noisy_validation"}
    for at in (0, 57, 350, 404, 520, 606, 900):
        first, second = Monitored(REGRESSION), Monitored(REGRESSION)
        first.moved = second.moved = 0.5
        given = first.see(*(event for event, _ in events[:at]))
        second.hints.restore(json.loads(json.dumps(first.hints.values())))
        second.model = first.model
        assert given + second.see(*(event for event, _ in events[at:])) == expected


@pytest.mark.parametrize("values", [3, {}, {"done": ["nonsense"]}, {"best": [1, 2]}, {"meta_loss": {"count": "x"}}])
def test_damaged_state_is_refused(values: object) -> None:
    hints = Hints(lambda: 0.0, has_batch_norm=False)
    if values == {}:
        hints.restore(values)  # as if nothing had been seen
    else:
        with pytest.raises(BadInput, match="its value 'hints' is invalid"):
            hints.restore(values)
