"""Events that a trainer yields, and commands that it accepts between meta-steps.

They are plain values without tensors, so the app, the command line and the code that reads run files do not need torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from metatui.config.declarations import Scalar
from metatui.config.settings import Settings


@dataclass(frozen=True)
class Curve:
    """Means of a metric over tasks, from step 0 to the last inner step, with the half-widths of their 95 % intervals.

    Tasks that diverged are not included. All values are NaN if at least half of the tasks diverged.
    """

    mean: tuple[float, ...]
    ci95: tuple[float, ...]


@dataclass(frozen=True)
class Pool:
    """The classes that held-out tasks are drawn from, or the tasks of a table."""

    size: int
    """Number of classes; for regression, number of tasks."""
    tasks: int
    """Number of different sets of classes that a task can have; for regression, number of tasks."""


@dataclass(frozen=True)
class Evaluation:
    """Result of adaptation to held-out tasks, with the protocol of the evaluation."""

    split: str
    """Split of the held-out tasks: `val` or `test`."""
    tasks: int
    shots: int
    queries: int
    ways: int | None
    """Number of classes; None for regression."""
    batch_norm: str | None
    """Batch-norm mode, `transductive` or `per_example`; None if the model has no batch norm."""
    iteration: int
    """Meta-step that produced the evaluated parameters."""
    steps: tuple[int, ...]
    loss: Curve
    accuracy: Curve | None
    """Accuracies from 0 to 1; None for regression."""
    seconds: float
    inner_lr: float | None = None
    """Inner learning rate of the adaptation; None in records of old versions of metatui, which did not store it."""
    diverged: int | None = None
    """Number of tasks that diverged (see `learning.evaluation.statistics.diverged_tasks`) and are excluded from `loss`
    and `accuracy`; None in records of old versions of metatui, which did not count such tasks."""
    checkpoint: str | None = None
    """The evaluated checkpoint, `best` or `last`; None for a validation."""
    pool: Pool | None = None
    """The classes (or tasks of a table) from which tasks are drawn; None if at least as many different tasks can be
    drawn as are evaluated. Also None in records of old versions of metatui."""

    @property
    def is_finite(self) -> bool:
        """True if the value of `final` is finite. It is not finite if at least half of the tasks diverged."""
        return math.isfinite(self.final[0])

    @property
    def final(self) -> tuple[float, float]:
        """Accuracy (loss for regression) after the last inner step: mean and half-width of the interval."""
        curve = self.accuracy or self.loss
        return curve.mean[-1], curve.ci95[-1]


@dataclass(frozen=True)
class RegressionView:
    """One held-out regression task with a known true function, and the predictions before and after adaptation."""

    task: int
    title: str
    support_x: tuple[float, ...]
    support_y: tuple[float, ...]
    grid: tuple[float, ...]
    truth: tuple[float, ...]
    """Values of the true function at the points of `grid`."""
    predictions: tuple[tuple[float, ...], ...]
    """Predictions at the points of `grid`, one row for each inner step, starting at step 0."""
    loss: tuple[float, ...]
    """Query loss after each inner step, starting at step 0."""


@dataclass(frozen=True)
class CurveView:
    """One held-out regression task with one input and one target, in original units, and the predictions for it.

    The true function is unknown.
    """

    task: int
    title: str
    x_label: str
    y_label: str
    support_x: tuple[float, ...]
    support_y: tuple[float, ...]
    query_x: tuple[float, ...]
    query_y: tuple[float, ...]
    grid: tuple[float, ...]
    predictions: tuple[tuple[float, ...], ...]
    """Predictions at the points of `grid`, one row for each inner step, starting at step 0."""
    loss: tuple[float, ...]
    """Query loss after each inner step, starting at step 0."""
    loss_name: str
    """Display name of the loss, which states whether targets are standardised."""


@dataclass(frozen=True)
class ScatterView:
    """Query examples of one held-out regression task with several inputs or targets, and the predictions for them.

    All values are in original units.
    """

    task: int
    title: str
    targets: tuple[str, ...]
    """Names of all targets. The view contains values for only the first few of them."""
    truth: tuple[tuple[float, ...], ...]
    """True target values of the query examples, one row for each target in the view."""
    predictions: tuple[tuple[tuple[float, ...], ...], ...]
    """Predicted values after each inner step, starting at step 0, in the same order as `truth`."""
    loss: tuple[float, ...]
    """Query loss after each inner step, starting at step 0."""
    loss_name: str
    """Display name of the loss, which states whether targets are standardised."""


@dataclass(frozen=True)
class ImageView:
    """One held-out image classification episode, and the predictions before and after adaptation."""

    task: int
    title: str
    height: int
    width: int
    support: tuple[bytes, ...]
    """Support images ordered by class. The pixels of an image are stored row by row, with one byte for each channel of
    a pixel. In images of Omniglot and glyphs, strokes have the value 255."""
    support_labels: tuple[int, ...]
    query: tuple[bytes, ...]
    """A few query images of each class."""
    query_labels: tuple[int, ...]
    predictions: tuple[tuple[int, ...], ...]
    """Labels predicted for `query`, one row for each inner step, starting at step 0."""
    accuracy: tuple[float, ...]
    """Accuracy on the whole query set after each inner step, starting at step 0."""
    loss: tuple[float, ...]
    channels: int = 1
    """Number of channels: 3 for colour images (red, green, blue) and 1 for grey images. Old versions of metatui did not
    support colour, so their records do not contain this number."""
    classes: tuple[str, ...] = ()
    """The name of each class, in the order of the labels; an empty tuple in records of old versions of metatui."""


TaskView = RegressionView | CurveView | ScatterView | ImageView


@dataclass(frozen=True)
class Started:
    """Event: the run has started or resumed."""

    settings: Settings
    """Settings of the run, with each `auto` replaced by the value that was chosen."""
    device: str
    device_name: str
    engine: str
    engine_reason: str
    parameters: int
    """Number of the model's parameters."""
    iteration: int
    """Meta-step at which a resumed run continues; 0 for a new run."""


@dataclass(frozen=True)
class Progress:
    """Event: a meta-step has finished."""

    iteration: int
    """Number of finished meta-steps, including this one."""
    meta_loss: float
    """Mean query loss over the meta-batch, after adaptation and before the outer update."""
    accuracy: float | None
    """Query accuracy after adaptation; None for regression."""
    support_loss: float
    """Mean support loss over the meta-batch, before adaptation."""
    grad_norm: float
    """Norm of the meta-gradient before clipping. For Reptile, the norm of the mean parameter change."""
    outer_lr: float
    """Scheduled outer learning rate of this meta-step."""
    tasks_seen: int
    seconds: float
    """Training time so far in seconds, excluding pauses, validations and checkpoints."""


@dataclass(frozen=True)
class Evaluating:
    """Event: a validation or test is in progress. It ends with the event `Evaluated` or `Finished`."""

    iteration: int
    split: str
    done: int
    """Number of tasks that have been evaluated so far."""
    tasks: int


@dataclass(frozen=True)
class Evaluated:
    """Event: a validation has finished."""

    evaluation: Evaluation
    views: tuple[TaskView, ...]
    """Predictions on the first few held-out tasks, for display."""
    best: bool
    """True if no earlier validation was better. Validations are compared by the number of diverged tasks, then by the
    metric. A validation whose result is not finite (see `Evaluation.is_finite`) is never the best."""
    regular: bool = True
    """True if `evaluation.every` scheduled the validation. Otherwise, the user requested it, or it follows the last
    meta-step."""

    @property
    def iteration(self) -> int:
        return self.evaluation.iteration


@dataclass(frozen=True)
class Checkpointed:
    """Event: a checkpoint was saved."""

    iteration: int
    kind: str
    """Kind of the checkpoint: `last` or `best`."""


@dataclass(frozen=True)
class Tweaked:
    """Event: a live setting was changed."""

    iteration: int
    """Number of meta-steps that were finished before the change. The next meta-step uses the new value."""
    path: str
    old: Scalar
    new: Scalar


@dataclass(frozen=True)
class Paused:
    iteration: int


@dataclass(frozen=True)
class Resumed:
    iteration: int


@dataclass(frozen=True)
class Warned:
    iteration: int
    text: str


HintKind = Literal[
    "batch_norm", "diverging", "hardly_moving", "noisy_validation", "overfitting", "slowed_down", "worsening_steps"
]


@dataclass(frozen=True)
class Hinted:
    """Event: a likely problem with the training was detected. The event suggests a setting to change.

    A run gives at most one hint of each kind.
    """

    iteration: int
    kind: HintKind
    reason: str
    """Sentence that states the problem, without a full stop."""
    path: str
    """Path of the setting to change. If the setting is not live, it can only be changed in a new run."""
    old: Scalar
    new: Scalar


@dataclass(frozen=True)
class Noted:
    """Event: information that is recorded in the journal, but is not a warning."""

    iteration: int
    text: str


@dataclass(frozen=True)
class Finished:
    """Event: the run has ended without a failure."""

    iteration: int
    reason: str
    """Reason why the run ended: `iterations`, `early_stop`, `stopped` or `interrupted`."""
    seconds: float
    test: Evaluation | None
    """Test result of the best parameters. The test uses the live settings that were in use when these parameters were
    validated. None if the run was stopped or interrupted before the test had ended."""
    views: tuple[TaskView, ...] = ()
    warning: str | None = None
    """Reason why the result is not usable, and the setting to change; None if the result is usable."""


@dataclass(frozen=True)
class Failed:
    """Event: the run failed. Its last valid state has been saved."""

    iteration: int
    sentence: str
    """Sentence for the user that states the reason for the failure and the setting to change."""


@dataclass(frozen=True)
class Died(Failed):
    """Event: the run's process ended without a last event, for example because it was killed. The run can be resumed.

    The client of a run creates this event; it is never sent or recorded.
    """


Event = (
    Started
    | Progress
    | Evaluating
    | Evaluated
    | Checkpointed
    | Tweaked
    | Paused
    | Resumed
    | Warned
    | Hinted
    | Noted
    | Finished
    | Failed
)


@dataclass(frozen=True)
class Pause:
    pass


@dataclass(frozen=True)
class Resume:
    pass


@dataclass(frozen=True)
class Stop:
    """Command to finish the current meta-step, save a checkpoint and end the run."""

    reason: str = "stopped"


@dataclass(frozen=True)
class Checkpoint:
    """Command to save a checkpoint now."""


@dataclass(frozen=True)
class Evaluate:
    """Command to validate now."""


@dataclass(frozen=True)
class Change:
    """Command to change a live setting, starting at the next meta-step."""

    path: str
    value: Scalar


Command = Pause | Resume | Stop | Checkpoint | Evaluate | Change
