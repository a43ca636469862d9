"""Public API for training and evaluation, and for the models of runs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from metatui.config.fields import change
from metatui.config.presets import Preset
from metatui.config.schedule import Planned, checked
from metatui.config.settings import Settings
from metatui.events import Evaluation, Event
from metatui.runs.analysis.evaluate import evaluate as evaluate_run
from metatui.runs.execution.run_state import Outcome
from metatui.runs.execution.session import Session
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.utils.errors import BadInput, MetatuiError, SettingsError, quote

if TYPE_CHECKING:
    from metatui.runs.analysis.saved_model import LoadedModel


@dataclass(frozen=True)
class Result:
    """Result of a training run.

    Example:
        >>> settings = metatui.Settings(training={"iterations": 20}, evaluation={"test_tasks": 10})
        >>> result = metatui.train(settings, record=False)
        >>> result.test.tasks
        10
    """

    run: RunFolder | None
    """Folder of the run; None if the run was not recorded."""
    status: str
    """Final status: `finished`, `stopped` or `interrupted`."""
    iterations: int
    """Number of completed meta-steps."""
    meta_loss: float | None
    """Mean query loss after adaptation in the last meta-step; None for the algorithm `scratch`."""
    accuracy: float | None
    """Query accuracy after adaptation in the last meta-step; None for regression."""
    seconds: float
    """Training time in seconds, excluding validations and checkpoints."""
    tasks_per_second: float
    device: str
    engine: str
    test: Evaluation | None
    """Result of the final test of the best parameters, with the live settings that were in use when these parameters
    were validated; None for a stopped run."""
    best: Evaluation | None
    """Result of the best validation; None if no validation had a finite result."""
    validation: Evaluation | None
    """Result of the last validation; None if there was no validation."""
    warning: str | None
    """Explanation of why the result is not usable, and the setting to change; None if the result is usable."""


def train(
    settings: Settings,
    *,
    on_event: Callable[[Event], object] | None = None,
    runs_dir: str | Path | None = None,
    record: bool = True,
    changes: Sequence[Planned] = (),
) -> Result:
    """Train a run to completion in the current thread.

    The caller's global torch settings (default dtype, autocast, grad mode, threads, precision) do not affect the
    result. They are restored at the end and during each call to `on_event`.

    Args:
        on_event: callback for each event of `metatui.events`.
        runs_dir: folder of the runs; defaults to METATUI_RUNS or the user's data directory.
        record: whether to write a run folder; otherwise, nothing is saved.
        changes: scheduled setting changes (`Preset.changes`).

    Raises:
        BadInput: if `settings` is not a valid Settings object, or the device or the data set is not available.
        MetatuiError: if training failed; the message names the setting to change.

    Example:
        >>> events = []
        >>> settings = metatui.Settings(training={"iterations": 20})
        >>> result = metatui.train(settings, on_event=events.append, record=False)
        >>> result.status, result.iterations, type(events[0]).__name__
        ('finished', 20, 'Started')
    """
    if not isinstance(settings, Settings):
        hint = ": pass preset.settings and changes=preset.changes" if isinstance(settings, Preset) else ""
        raise BadInput(f"settings is of type {type(settings).__name__}, but must be metatui.Settings{hint}")
    settings = change(settings, {})  # validates: pydantic's model_copy does not

    from metatui.learning.hardware.torch_state import TorchState

    run, outcome = None, Outcome()
    events: Generator[Event, None, None]
    with TorchState() as torch_state:
        if record:
            session = Session.start(settings, runs_dir=runs_dir, changes=changes)
            run, events = session.run, iter(session)
        else:
            from metatui.learning.training.trainer import Trainer

            events = (event for event in Trainer(settings, changes=checked(changes, settings)).events())
        with closing(events):  # releases the run if on_event raises
            for event in events:
                outcome.update(event)
                if on_event is not None:
                    with torch_state.outside():
                        on_event(event)
    if outcome.sentence is not None:
        raise MetatuiError(outcome.sentence)
    return Result(
        run=run,
        status=outcome.status,
        iterations=outcome.iteration,
        meta_loss=outcome.meta_loss,
        accuracy=outcome.accuracy,
        seconds=outcome.seconds,
        tasks_per_second=outcome.tasks_per_second,
        device=outcome.device,
        engine=outcome.engine,
        test=outcome.test,
        best=outcome.best,
        validation=outcome.validation,
        warning=outcome.warning,
    )


def evaluate(
    run: RunFolder | str | Path,
    *,
    split: str = "test",
    tasks: int | None = None,
    steps: int | None = None,
    shots: int | None = None,
    inner_lr: float | None = None,
    batch_norm: str | None = None,
    device: str | None = None,
    runs_dir: str | Path | None = None,
) -> Evaluation:
    """Adapt the best parameters of a saved run to held-out tasks, and return the result.

    Args:
        run: a run, its name, the beginning of its name, the path of its folder, or `latest`.
        split: `val` or `test`.
        tasks, steps, shots, batch_norm, device: protocol and device of the evaluation; by default, those of the run.
        inner_lr: inner learning rate; defaults to the rate at the best validation.

    Raises:
        BadInput: if the run does not exist or has no intact checkpoint, or a value is not allowed.

    Example:
        >>> run = metatui.train(metatui.Settings(training={"iterations": 20})).run
        >>> metatui.evaluate(run, shots=5, tasks=20).tasks
        20
    """
    folder = run if isinstance(run, RunFolder) else RunStore(runs_dir).find(run)
    with _load_plugin_named():
        return evaluate_run(
            folder,
            split=split,
            tasks=tasks,
            steps=steps,
            shots=shots,
            inner_lr=inner_lr,
            batch_norm=batch_norm,
            device=device,
        )


def load_model(
    run: RunFolder | str | Path,
    *,
    checkpoint: Literal["best", "last"] = "best",
    device: str | None = None,
    runs_dir: str | Path | None = None,
) -> LoadedModel:
    """Load the meta-learned model of a run, to adapt it to the examples of a new task.

    `model.adapt(x, y)` returns an adapted model: `adapted(x)` returns logits or target values, and `adapted.predict(x)`
    returns labels or target values. Inputs and targets have the same form as in the data set: rows of a table in the
    units of its columns, or images [B, C, H, W] with values from 0 to 1. `model.module` is the network as an nn.Module,
    `model.save(path)` exports it, and `model.settings` are the settings of the run. The data set itself is not needed.
    If the run used a plugin file, load it first with `metatui.load_plugin`. Adaptation works well only for tasks that
    resemble the training tasks.

    Args:
        run: a run, its name, the beginning of its name, the path of its folder, or `latest`.
        checkpoint: `best` for the parameters with the best validation result, or the last parameters if there was no
            validation; `last` for the last parameters.
        device: defaults to the device of the run.

    Raises:
        BadInput: if the run does not exist or has no intact checkpoint, or the device is not available.

    Example:
        >>> run = metatui.train(metatui.Settings(training={"iterations": 20})).run
        >>> model = metatui.load_model(run)
        >>> x = torch.tensor([[-1.0], [0.0], [1.0]])
        >>> adapted = model.adapt(x, torch.sin(x), steps=5)
        >>> adapted.predict(torch.tensor([[0.5], [2.0]])).shape
        torch.Size([2, 1])
    """
    from metatui.runs.analysis.saved_model import load_model as load_saved_model

    try:
        folder = run if isinstance(run, RunFolder) else RunStore(runs_dir).find(run)
    except BadInput:
        if not str(run).endswith(".safetensors"):
            raise
        raise BadInput(
            f"run is {quote(str(run), 200)}, but must be the name of the run, its folder or 'latest': exported files "
            "contain only parameters, which safetensors.torch.load_file can read"
        ) from None
    with _load_plugin_named():
        return load_saved_model(folder, checkpoint=checkpoint, device=device)


@contextmanager
def _load_plugin_named() -> Iterator[None]:
    """Context manager that replaces `--plugin` with `metatui.load_plugin` in error messages about settings."""
    try:
        yield
    except SettingsError as error:
        problems = (
            replace(each, sentence=each.sentence.replace("--plugin FILE.py", 'metatui.load_plugin("FILE.py")'))
            for each in error.problems
        )
        raise SettingsError(problems, error.origin) from error
