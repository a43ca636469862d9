"""Tests of capturing whole meta-steps as CUDA graphs, with a fake capture that needs no GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import count
from typing import Any

import pytest
import torch

from metatui.config.settings import Settings
from metatui.events import (
    Change,
    Command,
    Event,
    Failed,
    Finished,
    Noted,
    Pause,
    Paused,
    Progress,
    Resume,
    Tweaked,
)
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.base import MetaGradient
from metatui.learning.engines.batched import BatchedEngine
from metatui.learning.engines.compiled import cuda_graph as graphs
from metatui.learning.engines.compiled.cuda_graph import (
    MAX_CAPTURES,
    CapturedStep,
    CaptureFailedError,
    captures,
    capturing,
)
from metatui.learning.experiment import set_up
from metatui.learning.training.learner import Learner, MetaStep, PendingStep
from metatui.learning.training.meta_steps import MAX_PENDING_STEPS
from metatui.learning.training.trainer import Trainer

Make = Callable[..., Settings]


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "WARM_UP", 1)


def fake_capture(function: Callable[[], None]) -> Callable[[], None]:
    """Simulate the capture of a CUDA graph: call `function` once, and return it so that each replay calls it again."""
    function()
    return function


def capturing_trainer(
    settings: Settings, record: Callable[[Callable[[], None]], Callable[[], None]] = fake_capture
) -> Trainer:
    """Return a trainer that captures its meta-steps with `record`, as it captures CUDA graphs on a GPU."""
    trainer = Trainer(settings)
    learner = trainer.learner
    learner.captures = CapturedStep(learner.engine, learner.flat, learner.outer, record=record)
    return trainer


def steps(events: list[Event]) -> list[Progress]:
    return [event for event in events if isinstance(event, Progress)]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("maml", {}), ("fomaml", {}), ("meta_sgd", {}),
        ("maml", {"algorithm__inner_optimizer": "adam", "algorithm__inner_clip": 0.5}),
        ("fomaml", {"algorithm__inner_optimizer": "momentum", "algorithm__inner_weight_decay": 0.1}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("source", ["sinusoid", "glyphs"])
def test_captured_meta_steps_match_eager_ones(name: str, rule: dict[str, Any], source: str, tiny: Make) -> None:
    settings = tiny(
        task__source=source, task__shots=1, task__queries=2, task__ways=2, model__filters=2, algorithm__name=name,
        algorithm__inner_steps=2, algorithm__meta_batch=2, algorithm__grad_clip=0.5, compute__precision="float64",
        compute__engine="batched", compute__threads=1, **rule,
    )  # fmt: skip
    eager, graphed = Learner(set_up(settings)), capturing_trainer(settings).learner
    assert graphed.captures is not None
    graphed.captures.capture(graphed.sample(range(2)), graphed.algorithm)
    for start in (0, 2):
        tasks = range(start, start + 2)
        expected, step = (learner.meta_step(tasks, 0.01) for learner in (eager, graphed))
        assert isinstance(step, PendingStep)
        assert isinstance(expected, MetaStep)
        (got,) = graphed.read([step])
        assert asdict(got) == pytest.approx(asdict(expected), rel=1e-9)
        torch.testing.assert_close(graphed.flat.vector, eager.flat.vector, rtol=1e-8, atol=1e-12)


def test_captured_run_matches_eager_run(tiny: Make) -> None:
    settings = tiny(compute__precision="float64", training__iterations=27, evaluation__every=13)
    events = list(capturing_trainer(settings).events())
    expected = steps(list(Trainer(settings).events()))
    assert [e.iteration for e in steps(events)] == list(range(1, 28))
    assert [e.meta_loss for e in steps(events)] == pytest.approx([e.meta_loss for e in expected], rel=1e-9)
    assert [e.tasks_seen for e in steps(events)] == [e.tasks_seen for e in expected]
    assert [e.iteration for e in events if isinstance(e, Noted)] == [0]


def test_metrics_are_read_in_groups(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, read = capturing_trainer(tiny(training__iterations=35, evaluation__every=0)), []
    real = trainer.learner.read

    def counted(waiting: list[PendingStep]) -> list[MetaStep]:
        read.append(len(waiting))
        return real(waiting)

    monkeypatch.setattr(trainer.learner, "read", counted)
    list(trainer.events())
    assert read == [MAX_PENDING_STEPS, MAX_PENDING_STEPS, MAX_PENDING_STEPS, 5]


def test_rate_changes_need_no_capture(tiny: Make) -> None:
    trainer, events = capturing_trainer(tiny(training__iterations=40)), []
    for event in trainer.events():
        if isinstance(event, Progress) and event.iteration == 10:
            trainer.submit(Change("algorithm.inner_lr", 0.02))
        if isinstance(event, Progress) and event.iteration == 20:
            trainer.submit(Change("algorithm.inner_steps", 2))
        events.append(event)
    assert [e.iteration for e in events if isinstance(e, Noted)] == [0, 20]
    assert events[-1].iteration == 40


def test_command_follows_the_metrics_of_earlier_meta_steps(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = capturing_trainer(tiny(evaluation__every=0))
    real = trainer.commands.waiting
    late: list[Command] = [Resume(), Pause()]
    events: list[Event] = []

    def waiting() -> Sequence[Command]:
        """Return the commands in the queue. After meta-step 7, also add those in `late`, but do not return them yet."""
        found = tuple(real())
        while trainer.iteration == 7 and late:
            trainer.submit(late.pop())
        return found

    monkeypatch.setattr(trainer.commands, "waiting", waiting)
    for event in trainer.events():
        if isinstance(event, Paused):
            assert len(steps(events)) == event.iteration
        events.append(event)
    assert any(isinstance(event, Paused) for event in events)


def test_divergence_is_detected_at_its_meta_step(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny(training__iterations=20, evaluation__every=0)
    eager = Trainer(settings)
    for event in eager.events():
        if isinstance(event, Progress) and event.iteration == 4:
            expected = eager.state()
            break
    trainer = capturing_trainer(settings)
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
    assert trainer.state().values["tasks_seen"] == expected.values["tasks_seen"]
    for name, tensor in trainer.state().tensors.items():
        torch.testing.assert_close(tensor, expected.tensors[name], rtol=1e-5, atol=1e-6)


def with_fewer_shots(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, diverged: int | None = None) -> None:
    """Give every third meta-step tasks with fewer shots, so that it cannot use the captured graph.

    Args:
        diverged: index of the meta-step whose targets are infinite.
    """
    sample = trainer.experiment.training_episodes

    def varied(tasks: range) -> Episodes:
        episodes, step = sample(tasks), tasks.start // len(tasks)
        if step == diverged:
            episodes.query_y.mul_(torch.inf)
        if step % 3 < 2:
            return episodes
        x, y = episodes.support_x[:, :4], episodes.support_y[:, :4]
        return Episodes(x, y, episodes.query_x, episodes.query_y)

    monkeypatch.setattr(trainer.experiment, "training_episodes", varied)


def test_eager_steps_between_captured_ones_keep_the_order(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny(compute__precision="float64")
    found = []
    for trainer in (capturing_trainer(settings), Trainer(settings)):
        with_fewer_shots(trainer, monkeypatch)
        found.append(steps(list(trainer.events())))
    assert [e.iteration for e in found[0]] == list(range(1, 21))
    assert [e.meta_loss for e in found[0]] == pytest.approx([e.meta_loss for e in found[1]], rel=1e-9)


def test_no_eager_step_follows_a_diverged_captured_one(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny(compute__precision="float64", evaluation__every=0)
    ends, states = [], []
    for trainer in (capturing_trainer(settings), Trainer(settings)):
        with_fewer_shots(trainer, monkeypatch, diverged=4)
        ends.append(list(trainer.events())[-1])
        states.append(trainer.state().tensors)
    assert all(isinstance(end, Failed) and end.iteration == 4 for end in ends)
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], rtol=1e-9, atol=1e-12)


def test_failed_capture_falls_back_to_eager(tiny: Make) -> None:
    def fails(function: Callable[[], None]) -> Callable[[], None]:
        function()
        raise CaptureFailedError("no CUDA graph could be captured (RuntimeError: not here)")

    settings = tiny()
    events = list(capturing_trainer(settings, fails).events())
    (note,) = [e for e in events if isinstance(e, Noted)]
    assert note.text.startswith("Training continues on the batched engine: no CUDA graph could be captured")
    expected = steps(list(Trainer(settings).events()))
    assert [e.meta_loss for e in steps(events)] == [e.meta_loss for e in expected]


def limit_tasks(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Simulate that the batched engine runs out of memory if it computes more than `most` tasks at once.

    Returns a list to which each call of the engine appends its number of tasks.
    """
    real, given = BatchedEngine.meta_gradient, []

    def meta_gradient(self: BatchedEngine, theta: Any, episodes: Any, *rest: Any, **options: Any) -> MetaGradient:
        given.append(len(episodes))
        if len(episodes) > most:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return real(self, theta, episodes, *rest, **options)

    monkeypatch.setattr(BatchedEngine, "meta_gradient", meta_gradient)
    return given


def test_graph_splits_tasks(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny(compute__precision="float64", compute__tasks_at_once=2, algorithm__meta_batch=5)
    expected = steps(list(Trainer(settings).events()))
    trainer, given = capturing_trainer(settings), limit_tasks(monkeypatch, most=2)
    events = list(trainer.events())
    assert given[:3] == [2, 2, 1]
    assert [e.iteration for e in events if isinstance(e, Noted)] == [0]
    assert [e.meta_loss for e in steps(events)] == pytest.approx([e.meta_loss for e in expected], rel=1e-9)


def test_out_of_memory_in_a_capture_halves_the_tasks(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    given = limit_tasks(monkeypatch, most=1)
    events = list(capturing_trainer(tiny(algorithm__meta_batch=4)).events())
    assert isinstance(events[-1], Finished)
    assert given[:3] == [4, 2, 1]
    assert [e.text for e in events if isinstance(e, Noted)] == [
        "cpu is out of memory with 4 tasks at once",
        "cpu is out of memory with 2 tasks at once",
        "From now on, each meta-step is one CUDA graph",
    ]


def test_larger_meta_batch_is_split_when_out_of_memory(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_tasks(monkeypatch, most=3)
    trainer, events = capturing_trainer(tiny(training__iterations=30)), []
    for event in trainer.events():
        if isinstance(event, Progress) and event.iteration == 10:
            trainer.submit(Change("algorithm.meta_batch", 6))
        events.append(event)
    assert isinstance(events[-1], Finished)
    assert [(e.path, e.new) for e in events if isinstance(e, Tweaked)] == [
        ("algorithm.meta_batch", 6),
        ("compute.tasks_at_once", 3),
    ]
    assert [e.iteration for e in steps(events)] == list(range(1, 31))


def test_capture_is_given_up_when_one_task_does_not_fit(tiny: Make) -> None:
    def no_memory(function: Callable[[], None]) -> Callable[[], None]:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    settings = tiny(algorithm__meta_batch=2)
    events = list(capturing_trainer(settings, no_memory).events())
    assert [e.text for e in events if isinstance(e, Noted)] == [
        "cpu is out of memory with 2 tasks at once",
        "cpu is out of memory even with one task at a time: training continues without CUDA graphs",
    ]
    assert len(steps(events)) == 20


@pytest.mark.parametrize("failed", [1, MAX_PENDING_STEPS + 1])
def test_out_of_memory_before_a_replay_loses_no_meta_step(
    failed: int, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny(algorithm__meta_batch=1, compute__precision="float64", evaluation__every=0)
    expected = steps(list(Trainer(settings).events()))
    trainer = capturing_trainer(settings)
    replay, meta_step, replays, attempts = CapturedStep.__call__, trainer.learner.meta_step, count(1), count(1)

    def fails_once(self: CapturedStep, *args: Any, **options: Any) -> torch.Tensor:
        if next(replays) == failed:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return replay(self, *args, **options)

    def counted(*args: Any) -> MetaStep | PendingStep:
        assert next(attempts) <= 2 * len(expected), "the meta-step is repeated without end"
        return meta_step(*args)

    monkeypatch.setattr(CapturedStep, "__call__", fails_once)
    monkeypatch.setattr(trainer.learner, "meta_step", counted)
    events = list(trainer.events())
    assert isinstance(events[-1], Finished)
    assert [e.iteration for e in steps(events)] == list(range(1, 21))
    assert [e.meta_loss for e in steps(events)] == pytest.approx([e.meta_loss for e in expected], rel=1e-9)


def test_out_of_memory_while_metrics_are_read_loses_none(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny(compute__precision="float64", evaluation__every=0)
    expected = [e.meta_loss for e in steps(list(Trainer(settings).events()))]
    trainer = capturing_trainer(settings)
    read, stack = trainer.learner.read, torch.stack

    def fails(*args: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    def read_without_memory(pending: list[PendingStep]) -> list[MetaStep]:
        monkeypatch.setattr(torch, "stack", fails)
        try:
            return read(pending)
        finally:
            monkeypatch.setattr(torch, "stack", stack)

    monkeypatch.setattr(trainer.learner, "read", read_without_memory)
    found = [e.meta_loss for e in steps(list(trainer.events()))]
    assert found == pytest.approx(expected, rel=1e-9)


def test_out_of_memory_frees_all_captures(tiny: Make) -> None:
    learner = capturing_trainer(settings := tiny()).learner
    assert learner.capture(range(3))
    learner.free_memory()
    assert learner.captures is not None
    assert not learner.captures.has(learner.sample(range(3)), settings.algorithm)


def test_empty_graph_is_refused(tiny: Make) -> None:
    def empty(function: Callable[[], None]) -> Callable[[], None]:
        function()
        return lambda: None

    settings = tiny()
    events = list(capturing_trainer(settings, empty).events())
    (note,) = [e for e in events if isinstance(e, Noted)]
    assert note.text.startswith("Training continues on the batched engine: the captured CUDA graph is unusable")
    expected = steps(list(Trainer(settings).events()))
    assert [e.meta_loss for e in steps(events)] == [e.meta_loss for e in expected]


def test_graph_that_changes_nothing_is_refused(tiny: Make) -> None:
    learner = capturing_trainer(tiny()).learner

    def elsewhere(function: Callable[[], None]) -> Callable[[], None]:
        state = (learner.flat.vector, *learner.outer.moments)

        def replay() -> None:
            before = [t.clone() for t in state]
            function()
            for tensor, kept in zip(state, before, strict=True):
                tensor.copy_(kept)

        return replay

    step = CapturedStep(learner.engine, learner.flat, learner.outer, record=elsewhere)
    with pytest.raises(CaptureFailedError, match="does not change the parameters"):
        step.capture(learner.sample(range(3)), learner.algorithm)


def test_least_recently_used_captures_are_dropped(tiny: Make) -> None:
    learner = capturing_trainer(settings := tiny()).learner
    sizes = range(1, MAX_CAPTURES + 1)
    assert all(learner.capture(range(size)) for size in sizes)
    learner.meta_step(range(1), 0.01)
    assert learner.capture(range(MAX_CAPTURES + 1))
    assert learner.captures is not None
    kept = [
        size
        for size in range(1, MAX_CAPTURES + 2)
        if learner.captures.has(learner.sample(range(size)), settings.algorithm)
    ]
    assert kept == [1, *range(3, MAX_CAPTURES + 2)]


def test_captures_by_algorithm_engine_and_device(tiny: Make) -> None:
    cuda, cpu = torch.device("cuda:1"), torch.device("cpu")

    def asked(device: torch.device, **changes: str | bool | int) -> bool:
        experiment = set_up(tiny(**changes))
        return captures(experiment.algorithm, experiment.engine, device)

    assert asked(cuda)
    assert asked(cuda, compute__engine="loop", algorithm__name="fomaml")
    assert not asked(cpu)
    assert not asked(cuda, compute__cuda_graphs=False)
    assert not asked(cuda, algorithm__name="reptile")
    assert not asked(cuda, compute__engine="higher")
    assert not asked(cuda, task__shots_range="2-6")
    assert asked(cuda, task__shots_range="6-6")
    assert not asked(cuda, task__source="glyphs", model__filters=2, task__ways_range="2-6")
    assert asked(cuda, task__ways_range="2-6"), "regression tasks have no ways"


class Graph:
    """A fake CUDA graph that records calls, and raises an error in the call whose name equals the argument `fails`."""

    def __init__(self, fails: str = "") -> None:
        self.calls: list[str] = []
        self._fails = fails

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name == self._fails:
            raise RuntimeError(name)

    def reset(self) -> None:
        self._called("reset")


class Capture:
    """A fake of `torch.cuda.graph`, which ends the capture even if the code in the `with` block fails."""

    def __init__(self, graph: Graph, *, pool: object, stream: object) -> None:
        self._graph = graph

    def __enter__(self) -> None:
        self._graph._called("begin")

    def __exit__(self, *_: object) -> None:
        self._graph._called("end")


@pytest.mark.parametrize(
    ("fails", "body", "calls"),
    [
        ("", False, ["begin", "end"]),
        ("", True, ["begin", "end", "reset"]),
        ("begin", False, ["begin", "reset"]),
        ("end", False, ["begin", "end", "reset"]),
        ("end", True, ["begin", "end", "reset"]),
    ],
)
def test_failed_capture_is_ended(fails: str, body: bool, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "graph", Capture)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", lambda *where: ended.append(where), raising=False)
    graph: Any = Graph(fails)
    stream: Any = None

    def run() -> None:
        with capturing(graph, (0, 1), stream):
            if body:
                raise ValueError("body")

    if fails or body:
        with pytest.raises((RuntimeError, ValueError), match="body" if body else fails):
            run()
        assert ended == [(1, (0, 1))]
    else:
        run()
        assert not ended
    assert graph.calls == calls


def test_released_pool_is_not_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    handles = iter([(0, 1), (0, 2)])
    monkeypatch.setattr(graphs, "free_unused_memory", lambda device: None)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(handles))
    made = graphs.CudaGraphs(torch.device("cuda"))
    assert made.pool() == made.pool() == (0, 1)
    made.release()
    assert made.pool() == (0, 2)
