"""Training and evaluating from Python: what `import metatui` offers, without a terminal."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

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
from metatui.utils.errors import BadInput, MetatuiError


@dataclass(frozen=True)
class Result:
    """What a training came to."""

    run: RunFolder | None
    """None where nothing was recorded."""
    status: str
    """`finished`, `stopped` or `interrupted`."""
    iterations: int
    """Meta-steps done."""
    meta_loss: float | None
    """Mean query loss after adaptation in the last meta-step; None for `scratch`, which has none."""
    accuracy: float | None
    """Query accuracy after adaptation in the last meta-step; None for regression."""
    seconds: float
    """Spent training, without validations and checkpoints."""
    tasks_per_second: float
    device: str
    engine: str
    test: Evaluation | None
    """The test of the best parameters, with the settings they were validated with; None for a stopped run."""
    best: Evaluation | None
    """The best validation; None where none was finite."""
    validation: Evaluation | None
    """The last validation, which may not be the best."""
    warning: str | None
    """Why there is no good result, and which setting to change; None if the result is good."""


def train(
    settings: Settings,
    *,
    on_event: Callable[[Event], object] | None = None,
    runs_dir: str | Path | None = None,
    record: bool = True,
    changes: Sequence[Planned] = (),
) -> Result:
    """Train one experiment in this thread, to its end.

    The caller's global settings of torch (default dtype, autocast, grad mode, threads, precision) do not change the
    result. They are restored at the end and during each call of `on_event`.

    Args:
        on_event: called with each event of `metatui.events` as it happens.
        runs_dir: where run folders go; METATUI_RUNS or the user's data directory where None.
        record: whether to keep a run folder at all. Without one nothing is saved.
        changes: what is to be changed on the way (`Preset.changes`).

    Raises:
        BadInput: `settings` are no Settings or are invalid, or the device or the data set is not available.
        MetatuiError: the training could not go on; the sentence says which setting to change.
    """
    if not isinstance(settings, Settings):
        hint = ": pass preset.settings and changes=preset.changes" if isinstance(settings, Preset) else ""
        raise BadInput(f"settings is a {type(settings).__name__}, but must be metatui.Settings{hint}")
    settings = change(settings, {})  # pydantic's model_copy validates nothing

    from metatui.learning.torch_state import TorchState

    run, outcome = None, Outcome()
    events: Generator[Event, None, None]
    with TorchState() as torch_state:
        if record:
            session = Session.start(settings, runs_dir=runs_dir, changes=changes)
            run, events = session.run, iter(session)
        else:
            from metatui.learning.training.trainer import Trainer

            events = (event for event in Trainer(settings, changes=checked(changes, settings)).events())
        with closing(events):  # lets the run go at once when on_event raises
            for event in events:
                outcome.see(event)
                if on_event is not None:
                    with torch_state.outside():
                        on_event(event)
    if outcome.sentence is not None:
        raise MetatuiError(outcome.sentence)
    return Result(
        run=run, status=outcome.status, iterations=outcome.iteration, meta_loss=outcome.meta_loss,
        accuracy=outcome.accuracy, seconds=outcome.seconds, tasks_per_second=outcome.tasks_per_second,
        device=outcome.device, engine=outcome.engine, test=outcome.test, best=outcome.best,
        validation=outcome.validation, warning=outcome.warning,
    )  # fmt: skip


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
    """Adapt a saved run's best parameters to held-out tasks, by its own protocol or another.

    Args:
        run: a run, its name, the start of its name, or the path of its folder.
        split: `val` or `test`.
        tasks: how many; as in the run's settings where None. So are `steps`, `shots`, `batch_norm` and
            `device`.
        inner_lr: inner learning rate; that of the best validation if None.

    Raises:
        BadInput: no such run, no whole checkpoint, or a value that cannot be.
    """
    folder = run if isinstance(run, RunFolder) else RunStore(runs_dir).find(run)
    return evaluate_run(
        folder, split=split, tasks=tasks, steps=steps, shots=shots, inner_lr=inner_lr, batch_norm=batch_norm,
        device=device,
    )  # fmt: skip
