"""What a comparison of runs comes to: plain values, for the command line, the app and reports alike to draw from."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from metatui.config.settings import Settings
from metatui.events import Evaluation
from metatui.runs.storage.run_folder import RunFolder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from metatui.learning.evaluation.statistics import Floats, PairedTest, WelchTest

Metric = Literal["accuracy", "loss"]


@dataclass(frozen=True)
class Protocol:
    """By what rules every run was measured. What a run cannot have otherwise (its ways, its split of the classes) is
    in its own evaluation and settings."""

    source: str
    split: str
    """`test` or `val`."""
    tasks: int
    shots: int
    queries: int
    steps: int
    """Inner steps: every curve has `steps` + 1 values."""
    seed: int
    """Decides which held-out tasks they are."""
    batch_norm: str | None
    """None where the models have none."""
    rotations: bool | None
    """None where the source has none."""


@dataclass(frozen=True)
class TaskValues:
    """What each held-out task gave at each inner step from 0. Nobody may write into the arrays."""

    loss: Floats
    """[T, steps + 1], float64."""
    accuracy: Floats | None
    """[T, steps + 1], fractions of the query set; None for regression."""

    @cached_property
    def diverged(self) -> NDArray[np.bool_]:
        """Tasks that diverged (see `metatui.learning.evaluation.evaluate.diverged`), [T]."""
        import torch

        from metatui.learning.evaluation.evaluate import diverged

        # Copied, because torch warns about read-only arrays; from_numpy ignores the caller's default device.
        loss = torch.from_numpy(self.loss.copy())
        lost: NDArray[np.bool_] = diverged(loss, regression=self.accuracy is None).numpy()
        return lost


@dataclass(frozen=True)
class TimeToTarget:
    """A moment in a run."""

    iterations: int
    tasks: int
    seconds: float
    """Training time without pauses, validations and checkpoints."""


@dataclass(frozen=True)
class LiveChange:
    """A setting that was changed while the run trained."""

    at: TimeToTarget
    label: str
    """`inner_lr 0.1`."""


@dataclass(frozen=True)
class Averages:
    """A training curve, smoothed like the curves of a single run in the app."""

    decay: float
    """One of `metatui.utils.smoothing.DECAYS`."""
    meta_loss: tuple[float, ...]
    accuracy: tuple[float, ...] | None


@dataclass(frozen=True)
class TrainingCurve:
    """Query loss and accuracy after adaptation on training tasks, smoothed over meta-steps, at most 500 points.

    Smoothed is every meta-step by `learning.evaluation.statistics.smoothed`; then points are taken evenly, the last one
    always.
    """

    span: int
    """Meta-steps of the smoothing, the same for all runs of a comparison."""
    iterations: tuple[int, ...]
    """Meta-steps done."""
    tasks: tuple[int, ...]
    """Tasks seen until then."""
    seconds: tuple[float, ...]
    """Spent training until then."""
    meta_loss: tuple[float, ...]
    accuracy: tuple[float, ...] | None
    """None for regression."""
    changes: tuple[LiveChange, ...] = ()
    """Live changes in order."""
    averages: tuple[Averages, ...] = ()
    """The curve at the same points with other smoothing."""


@dataclass(frozen=True)
class ValidationCurve:
    """The metric after the last inner step on the validation tasks, as measured while the run trained. nan where most
    of them diverged."""

    iterations: tuple[int, ...]
    tasks: tuple[int, ...]
    seconds: tuple[float, ...]
    mean: tuple[float, ...]
    ci95: tuple[float, ...]
    diverged: tuple[int, ...]
    """Validation tasks that diverged, which the means leave out; 0 in journals that do not count them."""


@dataclass(frozen=True)
class Costs:
    """What a run took, as its files say. None where they do not."""

    iterations: int
    """Meta-steps done."""
    seconds: float | None
    """Spent training."""
    seconds_per_step: float | None
    """Mean over all meta-steps, the first ones included."""
    tasks_per_second: float | None
    peak_memory_bytes: int | None
    """See `metatui.learning.hardware.peak_memory`."""
    device: str | None
    device_name: str | None
    host: str | None


@dataclass(frozen=True, eq=False)
class RunResult:
    """One run of a comparison."""

    run: RunFolder
    label: str
    """Short, and of no other run in the comparison."""
    settings: Settings
    """Settings of the training, including live changes, but with the inner learning rate of the best validation."""
    evaluation: Evaluation
    """The adaptation curve with its protocol."""
    values: TaskValues = field(repr=False)
    same_tasks: Hashable = field(repr=False)
    """Equal for runs that had the same held-out tasks."""
    diverged: int
    """Held-out tasks that diverged, which `evaluation` leaves out of its means."""
    training: TrainingCurve | None = field(repr=False)
    """None before the first meta-step, and for `scratch`."""
    validation: ValidationCurve = field(repr=False)
    costs: Costs
    to_target: TimeToTarget | None
    """The first validation that had the target; None where none had, or there is no target."""

    @property
    def id(self) -> str:
        return self.run.id


@dataclass(frozen=True, eq=False)
class Pair:
    """Two runs on the same held-out tasks."""

    a: RunResult = field(repr=False)
    b: RunResult = field(repr=False)
    metric: Metric
    step: int
    """The inner step compared at."""
    test: PairedTest
    """Test of a minus b over the tasks on which neither diverged. Accuracies are fractions."""
    p_holm: float
    """`test.deciding_p` with Holm's correction over all pairs of the comparison; nan where at least half
    of the tasks were left out."""
    wilcoxon_p_holm: float
    family: int
    """Pairs that were corrected for."""
    verdict: str
    """What it says, in words."""


@dataclass(frozen=True, eq=False)
class SeedGroup:
    """Runs of the same settings from different seeds."""

    label: str
    runs: tuple[RunResult, ...] = field(repr=False)


@dataclass(frozen=True, eq=False)
class SeedPair:
    """Two settings, each trained from several seeds and measured on the same held-out tasks."""

    a: SeedGroup
    b: SeedGroup
    metric: Metric
    step: int
    test: WelchTest
    """Test of a minus b over the means of the runs. A mean is over the tasks on which the run did not diverge. Runs
    that diverged on most tasks are left out."""
    p_holm: float
    family: int
    verdict: str


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs measured on the same held-out tasks, and what can be said of their differences."""

    protocol: Protocol
    runs: tuple[RunResult, ...]
    pairs: tuple[Pair, ...]
    """Every two runs that had the same tasks, after the last inner step."""
    seeds: tuple[SeedPair, ...]
    """Every two settings with several seeds each; empty where there are not."""
    target: float | None
    """A fraction for accuracy, the loss's own unit for loss."""
    warnings: tuple[str, ...]

    @property
    def metric(self) -> Metric:
        """What decides: accuracy where there is one."""
        return "accuracy" if self.runs[0].evaluation.accuracy else "loss"

    @property
    def verdicts(self) -> tuple[str, ...]:
        """What the tests say in words, those over seeds first."""
        return (*(pair.verdict for pair in self.seeds), *(pair.verdict for pair in self.pairs))

    @property
    def deciding(self) -> tuple[SeedPair | Pair, ...]:
        """The pairs to read first: of two settings that have several seeds each, only what is said over those."""
        over_seeds = {run for pair in self.seeds for group in (pair.a, pair.b) for run in group.runs}
        return (*self.seeds, *(pair for pair in self.pairs if not {pair.a, pair.b} <= over_seeds))

    @property
    def conclusions(self) -> tuple[str, ...]:
        """The verdicts of the pairs to read first."""
        return tuple(pair.verdict for pair in self.deciding)

    @property
    def timed(self) -> RunResult | None:
        """The run that speeds are held against: the first of which the time of a meta-step is known."""
        return next((run for run in self.runs if run.costs.seconds_per_step), None)

    def speed_ratio(self, run: RunResult) -> float | None:
        """How many times as many meta-steps `run` makes as the run `timed` in the same time; None where that is not
        known."""
        own = run.costs.seconds_per_step
        first = self.timed.costs.seconds_per_step if self.timed else None
        return first / own if first and own else None


@dataclass(frozen=True)
class Comparing:
    """How far a comparison is."""

    run: str
    """The label of the run that is being adapted."""
    number: int
    """Of the run, from 1."""
    runs: int
    done: int
    """Held-out tasks that it has adapted to."""
    tasks: int
