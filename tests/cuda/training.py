"""Functions that train short runs for the tests on simulated CUDA devices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.presets import load
from metatui.config.schedule import Planned
from metatui.config.settings import Settings
from metatui.events import Event, Finished, Noted, Progress, Stop
from metatui.learning.training.trainer import Trainer
from metatui.runs.execution.session import Session
from metatui.runs.storage.run_folder import RunFolder

SHORT: dict[str, Scalar] = {
    "training.iterations": 2, "algorithm.meta_batch": 2, "algorithm.inner_steps": 1, "evaluation.every": 0,
    "evaluation.tasks": 2, "evaluation.test_tasks": 2, "evaluation.inner_steps": 1, "compute.device": "cuda",
    "compute.engine": "batched", "compute.threads": 1,
}  # fmt: skip

SMALL_IMAGES: dict[str, Scalar] = {
    "task.source": "glyphs", "task.ways": 3, "task.shots": 1, "task.queries": 2, "model.filters": 4,
}  # fmt: skip


def short(values: dict[str, Scalar] | None = None, **changes: Scalar) -> Settings:
    """Return settings of a run of two small meta-steps on CUDA. The argument `task__shots=1` sets `task.shots` to 1."""
    return change(
        Settings(), {**SHORT, **(values or {}), **{name.replace("__", "."): v for name, v in changes.items()}}
    )


def of_preset(name: str, **changes: Scalar) -> Settings:
    """Return settings with the network of a bundled preset and with as few meta-steps, tasks and queries as possible.

    The device is CUDA. The keyword argument `task__shots=1` sets `task.shots` to 1.
    """
    fewest = {**SHORT, "training.iterations": 1, "algorithm.meta_batch": 1, "task.queries": 1}
    return change(
        load(name).settings, {**fewest, **{name.replace("__", "."): value for name, value in changes.items()}}
    )


def train(settings: Settings, changes: Sequence[Planned] = ()) -> list[Event]:
    """Train a run with these settings, and return all its events."""
    return list(Trainer(settings, changes=changes).events())


def train_steps(settings: Settings, changes: Sequence[Planned] = ()) -> list[float]:
    """Train a run and return its meta-losses.

    The run stops before its final validation and test, which would take longer than the meta-steps.
    """
    trainer, found = Trainer(settings, changes=changes), []
    for event in trainer.events():
        if isinstance(event, Progress):
            found.append(event.meta_loss)
            if event.iteration == settings.training.iterations:
                trainer.submit(Stop())
    return found


def saved_run(settings: Settings, folder: Path) -> RunFolder:
    """Train a run to its end, save it in the runs folder `folder`, and return it."""
    session = Session.start(settings, runs_dir=folder)
    for _ in session:
        pass
    assert session.outcome.status == "finished"
    return session.run


def losses(events: Sequence[Event]) -> list[float]:
    """Return the meta-loss of each meta-step."""
    return [event.meta_loss for event in events if isinstance(event, Progress)]


def final_losses(events: Sequence[Event]) -> list[float]:
    """Return the mean loss in the final test before adaptation and after each inner step."""
    last = events[-1]
    assert isinstance(last, Finished), last
    assert last.test is not None
    return list(last.test.loss.mean)


def notes(events: Sequence[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Noted)]
