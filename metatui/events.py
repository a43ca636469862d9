"""What a trainer says while it works, and what it can be told between meta-steps.

Plain values without tensors: they go to the app's thread, to the run's files and to the command line alike, and
reading them needs no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from metatui.config.settings import Scalar, Settings


@dataclass(frozen=True)
class Curve:
    """A metric against inner step, from step 0: means over the tasks that did not diverge, and half-widths of their
    95 % intervals. nan where most tasks diverged."""

    mean: tuple[float, ...]
    ci95: tuple[float, ...]


@dataclass(frozen=True)
class Evaluation:
    """Adaptation on held-out tasks, with its protocol."""

    split: str
    """`val` or `test`."""
    tasks: int
    shots: int
    queries: int
    ways: int | None
    """None for regression."""
    batch_norm: str | None
    """`transductive` or `per_example`; None where the model has no batch norm."""
    iteration: int
    """Meta-steps that the evaluated parameters were trained for."""
    steps: tuple[int, ...]
    loss: Curve
    accuracy: Curve | None
    """None for regression. Fractions from 0 to 1."""
    seconds: float
    inner_lr: float | None = None
    """Inner learning rate of the adaptation; None in records of versions that did not keep it."""
    diverged: int | None = None
    """Tasks that diverged (see `learning.evaluation.evaluate.diverged`) and are left out of `loss` and `accuracy`; None
    in records of versions that did not count them."""
    checkpoint: str | None = None
    """`best` or `last`: which of a run's saved parameters were evaluated; None for a validation."""

    @property
    def is_finite(self) -> bool:
        """Whether the headline value is a finite number; it is not where most tasks diverged."""
        return math.isfinite(self.final[0])

    @property
    def final(self) -> tuple[float, float]:
        """The headline after the last inner step, accuracy or loss: its mean and the half-width of its interval."""
        curve = self.accuracy or self.loss
        return curve.mean[-1], curve.ci95[-1]


@dataclass(frozen=True)
class RegressionView:
    """One held-out task of regression, before and after adaptation."""

    task: int
    title: str
    support_x: tuple[float, ...]
    support_y: tuple[float, ...]
    grid: tuple[float, ...]
    truth: tuple[float, ...]
    """The true function on `grid`."""
    predictions: tuple[tuple[float, ...], ...]
    """On `grid`, one row for each inner step from 0."""
    loss: tuple[float, ...]
    """Query loss at each inner step from 0."""


@dataclass(frozen=True)
class ImageView:
    """One held-out episode of image classification, before and after adaptation."""

    task: int
    title: str
    height: int
    width: int
    support: tuple[bytes, ...]
    """Grey images, row by row, ink as 255; ordered by class."""
    support_labels: tuple[int, ...]
    query: tuple[bytes, ...]
    """A few query images of each class."""
    query_labels: tuple[int, ...]
    predictions: tuple[tuple[int, ...], ...]
    """Labels predicted for `query`, one row for each inner step from 0."""
    accuracy: tuple[float, ...]
    """Over the whole query set, at each inner step from 0."""
    loss: tuple[float, ...]


TaskView = RegressionView | ImageView


@dataclass(frozen=True)
class Started:
    settings: Settings
    """With what `auto` stood for filled in."""
    device: str
    device_name: str
    engine: str
    engine_reason: str
    parameters: int
    """Numbers in the model."""
    iteration: int
    """0, or where a resumed run goes on."""


@dataclass(frozen=True)
class Progress:
    """One meta-step done."""

    iteration: int
    """Meta-steps done so far, this one included."""
    meta_loss: float
    """Mean query loss after adaptation, over the meta-batch and before the outer update."""
    accuracy: float | None
    """Query accuracy after adaptation; None for regression."""
    support_loss: float
    """Mean support loss before adaptation."""
    grad_norm: float
    """Norm of the meta-gradient before clipping; of the mean parameter change for Reptile."""
    outer_lr: float
    """What the schedule made of the outer learning rate at this meta-step."""
    tasks_seen: int
    seconds: float
    """Time spent training, without pauses, validations and checkpoints."""


@dataclass(frozen=True)
class Evaluating:
    """A validation or test is under way; `Evaluated` or `Finished` follows."""

    iteration: int
    split: str
    done: int
    """Tasks evaluated so far."""
    tasks: int


@dataclass(frozen=True)
class Evaluated:
    evaluation: Evaluation
    views: tuple[TaskView, ...]
    """The first held-out tasks, drawn out for a person."""
    best: bool
    """Whether no earlier validation was better. Fewer diverged tasks are better, then a better metric; a validation
    that is not finite (`Evaluation.is_finite`) is never the best."""
    regular: bool = True
    """Whether `evaluation.every` asked for it; otherwise it was asked for, or it is the one at the end."""

    @property
    def iteration(self) -> int:
        return self.evaluation.iteration


@dataclass(frozen=True)
class Checkpointed:
    iteration: int
    kind: str
    """`last` or `best`."""


@dataclass(frozen=True)
class Tweaked:
    iteration: int
    """Meta-steps done when the change was made: the next one is the first that it touches."""
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


@dataclass(frozen=True)
class Noted:
    """Something that went as planned and that a reader of the journal wants to know."""

    iteration: int
    text: str


@dataclass(frozen=True)
class Finished:
    """The run is over, for a good reason."""

    iteration: int
    reason: str
    """`iterations`, `early_stop`, `stopped` or `interrupted`."""
    seconds: float
    test: Evaluation | None
    """The test of the best parameters, with the settings they were validated with; None for a stopped run."""
    views: tuple[TaskView, ...] = ()
    warning: str | None = None
    """Why there is no good result, and which setting to change; None where there is one."""


@dataclass(frozen=True)
class Failed:
    """The run is over because it could not go on; the last good state is kept."""

    iteration: int
    sentence: str
    """What happened and which setting to change."""


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
    """Finish the meta-step, save, and end."""

    reason: str = "stopped"


@dataclass(frozen=True)
class Checkpoint:
    """Save now."""


@dataclass(frozen=True)
class Evaluate:
    """Validate now."""


@dataclass(frozen=True)
class Change:
    """Set one of the live settings from the next meta-step on."""

    path: str
    value: Scalar


Command = Pause | Resume | Stop | Checkpoint | Evaluate | Change
