"""Tests of out-of-memory errors during training, CUDA graph captures and evaluation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from pathlib import Path
from queue import Queue

import pytest
import torch

from metatui.cli.main import main
from metatui.config.declarations import Scalar
from metatui.config.settings import Settings
from metatui.events import Event, Failed, Finished, Progress
from metatui.learning.training.trainer import VIEWS, Trainer
from metatui.tui.helper import WorkerError
from metatui.tui.helper.worker import answer
from tests.cuda.device import simulator
from tests.cuda.training import final_losses, losses, notes, saved_run, short, train

STEPS = 3

MANY = 8
"""Number of tasks in a meta-step. It is so large that the meta-step needs more memory than recording the predictions
for one held-out task."""

OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB. GPU 0 has a total capacity of 80 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
)


def trained_with(settings: Settings, refuse: Callable[[str, int], None]) -> list[Event]:
    """Train a run and return its events.

    After the first event, `refuse` is called for each kernel and may raise an error.
    """
    events = []
    try:
        for event in Trainer(settings).events():
            simulator.before_kernel = refuse
            events.append(event)
    finally:
        simulator.before_kernel = None
    return events


@functools.cache
def undisturbed(meta_batch: int = MANY) -> tuple[list[float], list[float], int, int]:
    """Train a run in which no memory error occurs.

    Returns:
        The meta-losses, the losses of the final test, the number of kernels, and the largest number of bytes that one
        kernel allocated.
    """
    most, count = 0, 0

    def note(name: str, allocated: int) -> None:
        nonlocal most, count
        most, count = max(most, allocated), count + 1

    events = trained_with(of_memory(algorithm__meta_batch=meta_batch), note)
    return losses(events), final_losses(events), count, most


def of_memory(**changes: Scalar) -> Settings:
    return short(
        {"task.shots": 5, "task.queries": 5},
        **{"compute__precision": "float64", "training__iterations": STEPS, "algorithm__meta_batch": MANY, **changes},
    )


@pytest.mark.parametrize(("error", "graphs"), zip(OUT_OF_MEMORY, (True, False, True), strict=True))
def test_tasks_are_split_when_out_of_memory(error: Exception, graphs: bool) -> None:
    expected, test, _, most = undisturbed()
    half = undisturbed(meta_batch=MANY // 2)[3]
    assert half < most

    def refuse(name: str, allocated: int) -> None:
        if allocated > half:
            raise error

    events = trained_with(of_memory(compute__cuda_graphs=graphs), refuse)
    assert losses(events) == pytest.approx(expected, rel=1e-9)
    assert final_losses(events) == pytest.approx(test, rel=1e-9)
    assert "cuda:0 is out of memory with 8 tasks at once" in notes(events)
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_one_out_of_memory_loses_nothing(share: float) -> None:
    expected, test, kernels, _ = undisturbed()
    seen = 0

    def refuse(name: str, allocated: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 1 + int(share * kernels):
            raise OUT_OF_MEMORY[0]

    events = trained_with(of_memory(), refuse)
    assert seen > int(share * kernels), "no error was raised"
    steps = [event.iteration for event in events if isinstance(event, Progress)]
    assert isinstance(events[-1], Finished), events[-1]
    assert steps == list(range(1, STEPS + 1))
    assert losses(events) == pytest.approx(expected, rel=1e-9)
    assert final_losses(events) == pytest.approx(test, rel=1e-9)


def test_out_of_memory_after_a_replay_does_not_repeat_the_meta_step() -> None:
    expected, test, _, _ = undisturbed()
    refused: list[str] = []

    # Currently, nothing is allocated between a replay and the next one, so no error is raised.
    def refuse(name: str, allocated: int) -> None:
        if simulator.graph_launches == 2 and allocated and not refused:  # the first launch verifies the capture
            refused.append(name)
            raise OUT_OF_MEMORY[0]

    simulator.reset()
    events = trained_with(of_memory(), refuse)
    assert losses(events) == pytest.approx(expected, rel=1e-9)
    assert final_losses(events) == pytest.approx(test, rel=1e-9)


def test_out_of_memory_in_every_capture_falls_back_to_eager() -> None:
    expected, _, _, _ = undisturbed()

    def refuse(name: str, allocated: int) -> None:
        if simulator.capture is not None:
            raise OUT_OF_MEMORY[0]

    events = trained_with(of_memory(), refuse)
    assert isinstance(events[-1], Finished), events[-1]
    assert notes(events)[-1].endswith("even with one task at a time: training continues without CUDA graphs")
    assert losses(events) == pytest.approx(expected, rel=1e-9)


def test_evaluation_is_split_when_out_of_memory() -> None:
    settings = of_memory(evaluation__test_tasks=12, evaluation__tasks=12)
    expected = final_losses(train(settings))
    half = undisturbed(meta_batch=MANY // 2)[3]

    def refuse(name: str, allocated: int) -> None:
        if allocated > half:
            raise OUT_OF_MEMORY[0]

    events = trained_with(settings, refuse)
    assert final_losses(events) == pytest.approx(expected, rel=1e-9)
    assert isinstance(events[-1], Finished)
    assert len(events[-1].views) == VIEWS


def test_permanent_out_of_memory_ends_the_run() -> None:
    def refuse(name: str, allocated: int) -> None:
        if allocated:
            raise OUT_OF_MEMORY[0]

    saved: list[str] = []
    trainer = Trainer(of_memory(), save=lambda kind, state: saved.append(kind))
    events = []
    try:
        for event in trainer.events():
            simulator.before_kernel = refuse
            events.append(event)
    finally:
        simulator.before_kernel = None
    assert isinstance(events[-1], Failed)
    assert "out of memory" in events[-1].sentence
    assert saved == ["last"]


def test_commands_say_that_memory_ran_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = saved_run(short({"task.shots": 5}), tmp_path)

    def refuse(name: str, allocated: int) -> None:
        raise OUT_OF_MEMORY[0]

    monkeypatch.setattr(simulator, "before_kernel", refuse)
    assert main(["evaluate", str(run.path), "--tasks", "3"]) == 1
    assert "there is not enough memory" in capsys.readouterr().err


def test_views_of_the_app_say_that_memory_ran_out() -> None:
    def work() -> Generator[object, None, None]:
        yield None
        raise OUT_OF_MEMORY[0]

    replies: list[object] = []
    answer(1, work, Queue(), replies.append)
    assert isinstance(replies[-1], WorkerError)
    assert "there is not enough memory" in replies[-1].sentence
