"""Tests of the trainer: events, commands, and identical numbers in repeated and resumed runs."""

from __future__ import annotations

import math
import queue
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import torch

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import (
    Change,
    Checkpoint,
    Checkpointed,
    Command,
    Curve,
    Evaluate,
    Evaluated,
    Evaluating,
    Evaluation,
    Event,
    Failed,
    Finished,
    Hinted,
    Pause,
    Paused,
    Progress,
    Resume,
    Resumed,
    Started,
    Stop,
    Tweaked,
    Warned,
)
from metatui.learning.data.episodes import Episodes
from metatui.learning.optim.inner import Params
from metatui.learning.optim.outer import DivergedError
from metatui.learning.training import trainer as trainer_module
from metatui.learning.training.failures import out_of_memory_message
from metatui.learning.training.hints import Hints
from metatui.learning.training.trainer import Trainer
from metatui.learning.training.trainer_state import TrainerState, evaluate_state
from metatui.utils.errors import BadInput, SettingsError

Make = Callable[..., Settings]
E = TypeVar("E")
ALGORITHMS = ["maml", "fomaml", "reptile", "scratch", "pretrained"]


def events_of_type(kind: type[E], events: list[Event]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def timeless(events: list[Event]) -> list[Event]:
    """Return the events without durations and without the timed events about the progress of evaluations."""

    def plain(event: Event) -> Event:
        match event:
            case Progress() | Finished():
                test = getattr(event, "test", None)
                more = {"test": replace(test, seconds=0.0)} if test else {}
                return replace(event, seconds=0.0, **more)
            case Evaluated():
                return replace(event, evaluation=replace(event.evaluation, seconds=0.0))
        return event

    return [plain(event) for event in events if not (isinstance(event, Evaluating) and event.done)]


def timeless_values(trainer: Trainer) -> dict[str, Any]:
    """Return the values of a trainer's state, except the time spent in meta-steps."""
    return {name: value for name, value in trainer.state().values.items() if name != "seconds"}


def later(events: list[Event], iteration: int) -> list[Event]:
    """Return those of `events` that belong to later meta-steps than `iteration`."""
    return [event for event in events if not isinstance(event, Started) and event.iteration > iteration]


def events_with(trainer: Trainer, iteration: int, *commands: Command) -> Iterator[Event]:
    """Yield the events of a trainer, and submit `commands` after meta-step `iteration`."""
    for event in trainer.events():
        if isinstance(event, Progress) and event.iteration == iteration:
            for command in commands:
                trainer.submit(command)
        yield event


@pytest.mark.parametrize("name", ALGORITHMS)
def test_run_ends_with_a_test(name: str, tiny: Make) -> None:
    events = list(Trainer(tiny(algorithm__name=name)).events())
    assert isinstance(events[0], Started)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.reason == "iterations"
    assert finished.test is not None
    assert (finished.test.split, finished.test.tasks, finished.test.steps) == ("test", 6, (0, 1, 2, 3))
    assert finished.test.accuracy is None
    steps = 0 if name == "scratch" else 20
    assert [e.iteration for e in events_of_type(Progress, events)] == list(range(1, steps + 1))
    assert [e.iteration for e in events_of_type(Evaluated, events)] == ([0] if name == "scratch" else [10, 20])


@pytest.mark.parametrize(
    ("name", "engine"), [*((name, "batched") for name in ALGORITHMS), ("maml", "loop"), ("maml", "higher")]
)
def test_same_seed_same_numbers(name: str, engine: str, tiny: Make) -> None:
    settings = tiny(algorithm__name=name, compute__engine=engine, training__iterations=10, evaluation__every=5)
    first, second = (timeless(list(Trainer(settings).events())) for _ in range(2))
    assert first == second


def test_seed_does_not_change_held_out_tasks(tiny: Make) -> None:
    runs = [list(Trainer(tiny(training__seed=seed)).events()) for seed in (0, 1)]
    losses = [[e.meta_loss for e in events_of_type(Progress, events)] for events in runs]
    assert losses[0] != losses[1]
    truths = [
        [(view.title, getattr(view, "truth", None)) for view in events_of_type(Evaluated, events)[0].views]
        for events in runs
    ]
    assert truths[0] == truths[1]


@pytest.mark.parametrize("name", ["maml", "fomaml", "reptile", "pretrained"])
def test_resumed_run_is_exact(name: str, tiny: Make) -> None:
    # The learning rate is so large that some validations are worse than an earlier one.
    settings = tiny(
        algorithm__name=name, algorithm__outer_lr=2.0, algorithm__outer_schedule="cosine", training__early_stop=50,
        training__iterations=9, evaluation__every=3,
    )  # fmt: skip
    whole = Trainer(settings)
    events = timeless(list(whole.events()))
    expected, values = whole.state().tensors, timeless_values(whole)
    assert values["since_best"]
    for at in (2, 3, 7):  # before, at and between validations
        saved: dict[str, TrainerState] = {}
        stopped = list(events_with(Trainer(settings, save=saved.__setitem__), at, Stop()))
        assert stopped[-1].iteration == at
        resumed = Trainer(settings, state=saved["last"])
        assert later(timeless(list(resumed.events())), at) == later(events, at)
        actual = resumed.state().tensors
        assert actual.keys() == expected.keys()
        assert all(torch.equal(tensor, actual[key]) for key, tensor in expected.items())
        assert timeless_values(resumed) == values


def test_pause_does_not_change_numbers(tiny: Make) -> None:
    plain = [e for e in timeless(list(Trainer(tiny()).events())) if isinstance(e, Progress)]
    trainer = Trainer(tiny())
    events = []
    for event in events_with(trainer, 5, Pause()):
        events.append(event)
        if isinstance(event, Paused):
            trainer.submit(Pause())  # without effect
            trainer.submit(Evaluate())
            trainer.submit(Resume())
    kinds = [type(e) for e in events]
    assert kinds.index(Paused) < kinds.index(Evaluated) < kinds.index(Resumed)
    assert events_of_type(Progress, timeless(events)) == plain


def test_stop_saves_and_ends(tiny: Make) -> None:
    saved: dict[str, TrainerState] = {}
    events = list(events_with(Trainer(tiny(), save=saved.__setitem__), 5, Stop("interrupted")))
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert (finished.iteration, finished.reason, finished.test) == (5, "interrupted", None)
    assert saved["last"].values["iteration"] == 5


def test_stop_interrupts_a_validation(tiny: Make) -> None:
    settings = tiny(evaluation__every=5, evaluation__tasks=1000)
    events = list(events_with(Trainer(settings), 5, Stop()))
    assert not events_of_type(Evaluated, events)
    assert events[-1].iteration == 5


def test_stop_interrupts_the_final_test(tiny: Make) -> None:
    trainer = Trainer(tiny(evaluation__test_tasks=1000))
    for event in trainer.events():
        if isinstance(event, Evaluating) and event.split == "test":
            trainer.submit(Stop("interrupted"))
    assert isinstance(event, Finished)
    assert (event.iteration, event.reason, event.test) == (20, "interrupted", None)


def test_interrupted_validation_is_repeated(tiny: Make) -> None:
    settings = tiny(evaluation__every=5, evaluation__tasks=400)
    saved: dict[str, TrainerState] = {}
    before = list(events_with(Trainer(settings, save=saved.__setitem__), 5, Stop("interrupted")))
    assert not events_of_type(Evaluated, before)
    again = timeless(list(Trainer(settings, state=saved["last"]).events()))
    assert events_of_type(Evaluated, again) == events_of_type(Evaluated, timeless(list(Trainer(settings).events())))


def test_commands_during_validation_keep_order(tiny: Make) -> None:
    settings = tiny(evaluation__every=5)
    outer = [Change("algorithm.outer_lr", rate) for rate in (0.5, 0.25, 0.125)]
    events = list(events_with(Trainer(settings), 5, *outer))
    assert [e.new for e in events_of_type(Tweaked, events)] == [0.5, 0.25, 0.125]


class BusyQueue(queue.SimpleQueue[Command]):
    """Queue to which another thread submits `late` at the moment when the training thread finds the queue empty."""

    late: Command | None = None

    def empty(self) -> bool:
        is_empty = super().empty()
        if is_empty and self.late:
            late, self.late = self.late, None
            self.put(late)
        return is_empty


def test_command_that_arrives_while_the_queue_is_examined_comes_last(
    tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = BusyQueue()
    monkeypatch.setattr(queue, "SimpleQueue", lambda: commands)
    trainer = Trainer(tiny(evaluation__every=5))
    outer = [Change("algorithm.outer_lr", rate) for rate in (0.5, 0.25, 0.125)]
    events = []
    for event in trainer.events():
        events.append(event)
        if isinstance(event, Evaluating) and event.iteration == 5:
            for command in outer[:2]:
                trainer.submit(command)
            commands.late = outer[2]
    assert [e.new for e in events_of_type(Tweaked, events)] == [0.5, 0.25, 0.125]


def test_changes_before_a_stop_during_validation_are_kept(tiny: Make) -> None:
    settings = tiny(evaluation__every=5)
    first, later = (Change("algorithm.outer_lr", rate) for rate in (0.5, 0.25))
    saved: dict[str, TrainerState] = {}
    events = list(events_with(Trainer(settings, save=saved.__setitem__), 5, Evaluate(), first, Stop(), later))
    assert [(e.iteration, e.new) for e in events_of_type(Tweaked, events)] == [(5, 0.5)]
    assert not events_of_type(Evaluated, events)
    assert saved["last"].values["settings"]["algorithm"]["outer_lr"] == 0.5


def test_live_changes_apply_to_next_meta_step(tiny: Make) -> None:
    changes = {
        "algorithm.inner_lr": 0.02,
        "algorithm.outer_lr": 0.5,
        "algorithm.inner_steps": 2,
        "algorithm.meta_batch": 7,
        "training.iterations": 15,
    }
    events = list(events_with(Trainer(tiny()), 5, *(Change(path, value) for path, value in changes.items())))
    assert [(e.iteration, e.path, e.new) for e in events_of_type(Tweaked, events)] == [
        (5, path, value) for path, value in changes.items()
    ]
    progress = events_of_type(Progress, events)
    assert [e.tasks_seen for e in progress][4:7] == [15, 22, 29]
    assert progress[5].outer_lr == 0.5
    assert len(progress) == 15


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("training.seed", 3, "cannot be changed during a run"),
        ("no.such", 3, "cannot be changed during a run"),
        ("algorithm.inner_lr", -1.0, "must be a number above 0"),
        ("algorithm.meta_batch", 0, "must be a whole number from 1"),
    ],
)
def test_invalid_change_is_refused(path: str, value: float, words: str, tiny: Make) -> None:
    events = list(events_with(Trainer(tiny()), 5, Change(path, value)))
    (warned,) = events_of_type(Warned, events)
    assert isinstance(warned, Warned)
    assert words in warned.text
    assert not events_of_type(Tweaked, events)


def test_lowering_iterations_ends_run(tiny: Make) -> None:
    events = list(events_with(Trainer(tiny()), 5, Change("training.iterations", 3)))
    assert events[-1].iteration == 5
    assert isinstance(events[-1], Finished)


def test_checkpoint_command(tiny: Make) -> None:
    saved: list[int] = []
    trainer = Trainer(tiny(), save=lambda kind, state: saved.append(state.values["iteration"]))
    events = list(events_with(trainer, 5, Checkpoint()))
    assert 5 in saved
    assert Checkpointed(5, "last") in events


def test_checkpoints_at_regular_times(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(trainer_module, "time", SimpleNamespace(monotonic=lambda: now))
    settings = tiny(evaluation__every=0, training__iterations=10, checkpoint__every=40.0)
    events = []
    for event in Trainer(settings, save=lambda kind, state: None).events():
        events.append(event)
        now += 10.0 * isinstance(event, Progress)  # duration of a meta-step
    last = [event.iteration for event in events_of_type(Checkpointed, events) if event.kind == "last"]
    assert last == [4, 8, 10]


def test_hints_know_the_model_and_its_measured_time(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []

    class Recorded(Hints):
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            given.append(arguments)

    monkeypatch.setattr(trainer_module, "Hints", Recorded)
    glyphs = tiny(task__source="glyphs", task__shots=1, model__filters=2, compute__threads=2)
    for settings in (glyphs, tiny(compute__threads=1)):
        trainer = Trainer(settings)
        assert given[-1]["moved"]() == 0
        trainer.learner.flat.vector.mul_(3)
        assert given[-1]["moved"]() == pytest.approx(2)
    assert [(each["has_batch_norm"], each["measured_ms"]) for each in given] == [(True, 1.0), (False, None)]


def test_resumed_run_keeps_the_threads_of_its_first_meta_batch(tiny: Make, one_torch_thread: None) -> None:
    glyphs = {"task__source": "glyphs", "task__shots": 1, "model__filters": 2}
    settings = tiny(compute__engine="loop", compute__threads=2, **glyphs)
    state = Trainer(settings).state()
    assert torch.get_num_threads() == 1, "threads compute separate tasks"
    one = change(settings, {"algorithm.meta_batch": 1})
    Trainer(one, state=state)
    assert torch.get_num_threads() == 1
    Trainer(one)
    assert torch.get_num_threads() == 2


def test_early_stop(tiny: Make) -> None:
    # The learning rate is so large that the first validation stays the best one.
    settings = tiny(algorithm__outer_lr=5.0, training__early_stop=3, training__iterations=50, evaluation__every=2)
    trainer = Trainer(settings)
    events = list(trainer.events())
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.reason == "early_stop"
    bests = [e.best for e in events_of_type(Evaluated, events)]
    assert bests[-3:] == [False] * 3
    assert bests[-4]
    assert finished.test is not None
    assert finished.test.iteration == trainer.best.iteration


def test_final_test_uses_best_parameters(tiny: Make) -> None:
    settings = tiny(algorithm__outer_lr=2.0, training__iterations=30, evaluation__every=5)
    trainer = Trainer(settings)
    events = list(trainer.events())
    validations = {e.iteration: e.evaluation.final[0] for e in events_of_type(Evaluated, events)}
    finite = {i: loss for i, loss in validations.items() if math.isfinite(loss)}
    best = min(finite, key=lambda i: (finite[i], i))
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.test is not None
    assert finished.test.iteration == best
    again = evaluate_state(settings, trainer.state())
    assert replace(again, seconds=0.0) == replace(finished.test, seconds=0.0)


@pytest.mark.parametrize(("val", "test"), [(2, 4), (4, 2)])
def test_only_evaluated_tasks_are_shown(val: int, test: int, tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "VIEWS", 3)
    settings = tiny(evaluation__tasks=val, evaluation__test_tasks=test, training__iterations=1, evaluation__every=0)
    events = list(Trainer(settings).events())
    (validated,), (finished,) = events_of_type(Evaluated, events), events_of_type(Finished, events)
    assert [len(event.views) for event in (validated, finished)] == [min(3, val), min(3, test)]


def test_non_finite_validation_is_never_best(tiny: Make) -> None:
    # Far too large a learning rate for the inner steps of the evaluation; the single one in training stays finite.
    settings = tiny(algorithm__inner_lr=60.0, evaluation__inner_steps=60, training__iterations=2, evaluation__every=1)
    events = list(Trainer(settings).events())
    evaluated = events_of_type(Evaluated, events)
    assert evaluated
    assert all(not math.isfinite(e.evaluation.final[0]) and not e.best for e in evaluated)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.test is not None
    assert finished.test.iteration == 2  # the last parameters, because there are no best ones
    assert finished.warning is not None
    assert finished.warning.startswith(
        "No validation had a finite result, so the last parameters were tested instead of the best; "
    )


@pytest.mark.parametrize("name", ["maml", "reptile", "pretrained"])
def test_resume_in_another_precision(name: str, tiny: Make) -> None:
    saved: dict[str, TrainerState] = {}
    list(events_with(Trainer(tiny(algorithm__name=name), save=saved.__setitem__), 7, Stop()))
    again = Trainer(tiny(algorithm__name=name, compute__precision="float64"), state=saved["last"])
    assert isinstance(list(again.events())[-1], Finished)
    assert again.learner.theta
    assert all(p.dtype == torch.float64 for p in again.learner.theta.values())


@pytest.mark.parametrize("name", ["maml", "fomaml", "reptile"])
def test_divergence_keeps_last_good_state(name: str, tiny: Make) -> None:
    saved: dict[str, TrainerState] = {}
    settings = tiny(algorithm__name=name, algorithm__inner_lr=100.0, algorithm__inner_steps=40)
    events = list(Trainer(settings, save=saved.__setitem__).events())
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert "not finite: lower algorithm.inner_lr (now 100)" in failed.sentence
    hint = events_of_type(Hinted, events)[-1]
    assert (hint.kind, hint.path, hint.old) == ("diverging", "algorithm.inner_lr", 100.0)
    assert isinstance(hint.new, float)
    assert hint.new < 100
    assert hint.reason.endswith(f"of meta-step {failed.iteration + 1} is not finite")
    assert all(torch.isfinite(t).all() for t in saved["last"].tensors.values())
    assert saved["last"].values["iteration"] == failed.iteration


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_names_setting_to_lower(error: Exception, tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(tiny())
    real = trainer.learner.meta_step

    def fails(tasks: range, *rest: object) -> object:
        if tasks.start >= 9:
            raise error
        return real(tasks, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer.learner, "meta_step", fails)
    events = list(trainer.events())
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert failed.iteration == 3
    assert "lower algorithm.meta_batch (now 3)" in failed.sentence
    assert [e.new for e in events_of_type(Tweaked, events)] == [1]


def test_out_of_memory_without_an_outer_loop(tiny: Make) -> None:
    sentence = out_of_memory_message(tiny(algorithm__name="scratch"), 0)
    assert sentence.startswith("cpu is out of memory: lower task.queries (now 10); ")


def test_large_meta_batch_is_split(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny(compute__precision="float64", algorithm__meta_batch=8)
    trainer = Trainer(settings)
    real = trainer.learner.engine.meta_gradient

    def fits_three(theta: Params, episodes: Episodes, *rest: object, **more: object) -> object:
        if len(episodes) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(theta, episodes, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer.learner.engine, "meta_gradient", fits_three)
    events = list(trainer.events())
    assert [(e.path, e.new, e.iteration) for e in events_of_type(Tweaked, events)] == [
        ("compute.tasks_at_once", 4, 0), ("compute.tasks_at_once", 2, 0),
    ]  # fmt: skip
    expected = [e.meta_loss for e in events_of_type(Progress, list(Trainer(settings).events()))]
    assert [e.meta_loss for e in events_of_type(Progress, events)] == pytest.approx(expected, rel=1e-10)


def test_other_errors_are_raised(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(tiny())

    def fails(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(trainer.learner, "meta_step", fails)
    with pytest.raises(RuntimeError, match="a bug"):
        list(trainer.events())


def test_missing_device_lists_available_ones(tiny: Make) -> None:
    with pytest.raises(SettingsError, match=r"compute.device is 'cuda:99', but the available devices are .*cpu \("):
        Trainer(tiny(compute__device="cuda:99"))


def test_checkpoint_of_another_model_is_refused(tiny: Make) -> None:
    saved = Trainer(tiny()).state()
    with pytest.raises(BadInput, match="does not fit the model"):
        Trainer(tiny(model__hidden=(5,)), state=saved)


def test_infinite_gradient_leaves_theta_unchanged(tiny: Make) -> None:
    trainer = Trainer(tiny())
    theta = {name: p.clone() for name, p in trainer.learner.theta.items()}
    gradients = {name: torch.full_like(p, math.inf) for name, p in theta.items()}
    with pytest.raises(DivergedError):
        trainer.learner.outer.step(gradients, lr=1.0, clip=0.0)
    assert all(torch.equal(p, theta[name]) for name, p in trainer.learner.theta.items())


def train_with_evaluations(
    make: Make, monkeypatch: pytest.MonkeyPatch, results: list[tuple[float, int]], *commands: Command, **changes: Any
) -> list[Event]:
    """Train with fake evaluations of four tasks, and return the events.

    The evaluations return the given losses and numbers of diverged tasks. The last element of `results` is the result
    of the final test. `commands` are submitted after the first validation.
    """
    remaining = iter(results)

    def evaluate(
        experiment: Any, theta: Params, *, iteration: int, split: str, **_: Any
    ) -> Generator[int, None, Evaluation]:
        yield from ()
        loss, diverged = next(remaining)
        rate = experiment.settings.algorithm.inner_lr
        curve = Curve((loss,), (0.1,))
        return Evaluation(split, 4, 10, 10, None, None, iteration, (0,), curve, None, 1.0, rate, diverged)

    monkeypatch.setattr("metatui.learning.training.trainer.evaluate", evaluate)
    trainer = Trainer(make(evaluation__every=4, training__iterations=4 * (len(results) - 1), **changes))
    return list(events_with(trainer, 4, *commands))


def test_first_finite_validation_is_best(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    events = train_with_evaluations(
        tiny, monkeypatch, [(math.nan, 4), (9.0, 0), (math.nan, 3), (math.inf, 4), (9.0, 0)]
    )
    assert [event.best for event in events_of_type(Evaluated, events)] == [False, True, False, False]
    (finished,) = events_of_type(Finished, events)
    assert finished.test
    assert (finished.test.iteration, finished.test.checkpoint, finished.warning) == (8, "best", None)


def test_run_that_reaches_its_last_meta_step_is_not_stopped_early(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    results = [(1.0, 0), (2.0, 0), (2.0, 0), (1.0, 0)]
    (finished,) = events_of_type(Finished, train_with_evaluations(tiny, monkeypatch, results, training__early_stop=2))
    assert (finished.iteration, finished.reason) == (12, "iterations")


def test_repeated_validation_does_not_end_the_run(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    results = [(1.0, 0), *[(2.0, 0)] * 4, (1.0, 0)]
    events = train_with_evaluations(tiny, monkeypatch, results, Evaluate(), Evaluate(), training__early_stop=2)
    assert [event.iteration for event in events_of_type(Evaluated, events)] == [4, 4, 4, 8, 12]
    (finished,) = events_of_type(Finished, events)
    assert (finished.iteration, finished.reason) == (12, "early_stop")


def test_fewer_diverged_tasks_beat_a_better_mean(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    events = train_with_evaluations(tiny, monkeypatch, [(0.1, 1), (5.0, 0), (0.2, 1), (4.0, 0), (4.0, 0)])
    assert [event.best for event in events_of_type(Evaluated, events)] == [True, True, False, True]


def test_two_diverged_validations_give_one_hint(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    nan = (math.nan, 4)
    results = [(1.0, 0), nan, (1.0, 0), nan, nan, nan, (1.0, 0)]
    events = train_with_evaluations(tiny, monkeypatch, results, Change("algorithm.outer_lr", 0.01))
    assert events_of_type(Hinted, events) == [
        Hinted(
            20, "diverging", "Tasks diverged in two validations in a row (4 of 4 in the last)", "algorithm.outer_lr",
            old=0.01, new=0.001,
        )
    ]  # fmt: skip


def test_diverged_test_tasks_are_reported(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    (finished,) = events_of_type(Finished, train_with_evaluations(tiny, monkeypatch, [(1.0, 0), (2.0, 1)]))
    assert finished.warning == (
        "1 of 4 test tasks diverged: lower algorithm.inner_lr (now 0.01) or algorithm.outer_lr (now 0.001) and train "
        "again"
    )


def test_rate_that_was_raised_after_the_best_validation_is_named(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    results = [(1.0, 0), (2.0, 0), (2.0, 1)]
    (finished,) = events_of_type(
        Finished, train_with_evaluations(tiny, monkeypatch, results, Change("algorithm.outer_lr", 0.01))
    )
    assert finished.warning == (
        "1 of 4 test tasks diverged: lower algorithm.outer_lr (now 0.01, 0.001 at the best validation) and train again"
    )
