"""Data classes for the result of a comparison. The command line, the app and reports show these data."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from metatui.config.declarations import Scalar
from metatui.config.settings import Settings
from metatui.events import Curve, Evaluation
from metatui.runs.storage.run_folder import RunFolder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from metatui.learning.evaluation.significance import PairedTest, WelchTest
    from metatui.learning.evaluation.statistics import Floats

Metric = Literal["accuracy", "loss"]
Steps = int | Literal["own"]
"""A number of inner steps for all runs, or `own` for the number in the settings of each run."""


@dataclass(frozen=True)
class Protocol:
    """Evaluation protocol that all runs of a comparison share.

    Properties that are fixed by a trained model, such as the number of classes, may differ between the runs. The
    evaluation and settings of each run contain these properties.
    """

    source: str
    split: str
    """Name of the split: `test` or `val`."""
    tasks: int
    shots: int
    queries: int
    steps: int
    """Number of inner steps; every curve has `steps` + 1 values, unless `own_steps` is True."""
    seed: int
    """Seed of the held-out tasks."""
    batch_norm: str | None
    """Value of the setting `evaluation.batch_norm`; None for regression."""
    rotations: bool | None
    """Value of the setting `task.rotations`; None if the data set does not use it."""
    own_steps: bool = False
    """Whether each run uses the number of inner steps in its own settings. If True, `steps` is the largest of these
    numbers."""
    differences: tuple[str, ...] = ()
    """Each protocol setting that differs between the runs' own settings, with its values. The comparison uses the same
    value for all runs."""


@dataclass(frozen=True)
class TaskValues:
    """Metrics of each of T held-out tasks at inner steps 0, 1, 2, ..., as read-only arrays."""

    loss: Floats
    """Mean query loss of each task after each inner step, as a float64 array of shape [T, steps + 1]."""
    accuracy: Floats | None
    """Query accuracy of each task after each inner step, from 0 to 1, as an array of shape [T, steps + 1]; None for
    regression."""

    diverged: NDArray[np.bool_]
    """Array of shape [T]: whether each task diverged (see `metatui.learning.evaluation.statistics.diverged_tasks`)."""


@dataclass(frozen=True)
class TimeToTarget:
    """A point in the training of a run, for example the point at which it reached the target."""

    iterations: int
    tasks: int
    seconds: float
    """Training time up to this point, excluding pauses, validations and checkpoints."""


@dataclass(frozen=True)
class LiveChange:
    """A change to a setting during training."""

    at: TimeToTarget
    label: str
    """Short description of the change, such as `inner_lr 0.1`."""
    path: str
    """Path of the setting, such as `algorithm.inner_lr`."""
    old: Scalar
    new: Scalar


@dataclass(frozen=True)
class Averages:
    """A training curve, smoothed as in the app's charts."""

    decay: float
    """Decay of the smoothing, one of `metatui.utils.smoothing.DECAYS`."""
    meta_loss: tuple[float, ...]
    accuracy: tuple[float, ...] | None


@dataclass(frozen=True)
class TrainingCurve:
    """Query loss and accuracy after adaptation to training tasks, smoothed over meta-steps.

    All meta-steps are smoothed by `learning.evaluation.statistics.smoothed`; then at most 500 evenly spaced points are
    selected, always including the last one.
    """

    span: int
    """Number of meta-steps to smooth over, the same for all runs of a comparison."""
    iterations: tuple[int, ...]
    """Number of meta-steps completed at each point of the curve."""
    tasks: tuple[int, ...]
    """Number of training tasks seen up to each point of the curve."""
    seconds: tuple[float, ...]
    """Training time in seconds at each point of the curve."""
    meta_loss: tuple[float, ...]
    accuracy: tuple[float, ...] | None
    """Smoothed query accuracy at each point of the curve; None for regression."""
    changes: tuple[LiveChange, ...] = ()
    """Live changes, in order."""
    averages: tuple[Averages, ...] = ()
    """The training curve, smoothed once with each decay that can be selected in the app's charts."""


@dataclass(frozen=True)
class ValidationCurve:
    """Metric after the last inner step at each validation during training; NaN if most tasks diverged."""

    iterations: tuple[int, ...]
    tasks: tuple[int, ...]
    seconds: tuple[float, ...]
    mean: tuple[float, ...]
    ci95: tuple[float, ...]
    diverged: tuple[int, ...]
    """Number of diverged tasks in each validation; 0 if the journal does not record this number. The means
    exclude these tasks."""
    best: int | None = None
    """Meta-step of the best validation, whose parameters are kept; None if the journal does not record it."""


@dataclass(frozen=True)
class Costs:
    """Cost of training a run, as recorded in its files; unrecorded values are None."""

    iterations: int
    """Number of completed meta-steps."""
    seconds: float | None
    """Training time in seconds."""
    seconds_per_step: float | None
    """Mean time per meta-step, including the warm-up."""
    tasks_per_second: float | None
    peak_memory_bytes: int | None
    """Peak memory of the process on the CPU, or of the device on CUDA (see `learning.hardware.peak_memory`)."""
    device: str | None
    device_name: str | None
    host: str | None
    tasks_seen: int | None = None
    """Number of tasks on which the run was trained."""


@dataclass(frozen=True, eq=False)
class RecordedRun:
    """One run of a comparison, with its training curves and costs as recorded in the run folder."""

    run: RunFolder
    label: str
    """Short label, unique in the comparison."""
    settings: Settings
    """Training settings, including live changes, except that the inner learning rate is that of the best validation."""
    same_tasks: Hashable = field(repr=False)
    """Key that is equal for runs with the same held-out tasks."""
    training: TrainingCurve | None = field(repr=False)
    """Smoothed training curve; None before the first meta-step, and for the algorithm `scratch`."""
    validation: ValidationCurve = field(repr=False)
    costs: Costs
    to_target: TimeToTarget | None
    """First validation that reached the target; None if no validation reached it, or if there is no target."""
    selected: Settings | None = field(default=None, kw_only=True, repr=False)
    """Like `settings`, but with each compute setting that is `auto` replaced by the value that was selected; None if
    these values are unknown."""
    title: str = field(default="", kw_only=True)
    """Text that replaces the name of the algorithm in labels. If it is empty, the name of the algorithm is used."""
    lost_metrics: str | None = field(default=None, kw_only=True)
    """Description of the missing metrics, worded to follow the name of the run; None if none are missing."""

    @property
    def id(self) -> str:
        return self.run.id


@dataclass(frozen=True, eq=False)
class RunResult(RecordedRun):
    """One run of a comparison, evaluated on held-out tasks."""

    evaluation: Evaluation
    """Adaptation curve with its protocol."""
    values: TaskValues = field(repr=False)
    """Metrics of each task. If `evaluation` is the recorded test of the run, the arrays have no rows."""

    @property
    def diverged(self) -> int:
        """Number of held-out tasks that diverged. The means of `evaluation` exclude these tasks."""
        return self.evaluation.diverged or 0


@dataclass(frozen=True)
class Recorded:
    """Recorded training curves and costs of all runs of a comparison. They are known before any run is evaluated."""

    runs: tuple[RecordedRun, ...]
    metric: Metric


@dataclass(frozen=True, eq=False)
class Pair:
    """Paired test of two runs on the same held-out tasks."""

    a: RunResult = field(repr=False)
    b: RunResult = field(repr=False)
    metric: Metric
    step: int
    """Inner step after which the metrics are compared."""
    test: PairedTest
    """Test of the differences a minus b between the metrics, over the tasks on which neither run diverged. Accuracies
    are fractions."""
    p_holm: float
    """`test.deciding_p` with Holm's correction over all pairs; NaN if at least half of the tasks were excluded."""
    wilcoxon_p_holm: float
    family: int
    """Number of pairs that Holm's correction takes into account."""
    verdict: str
    """Conclusion as a sentence without a full stop."""


@dataclass(frozen=True)
class SeedCurve:
    """Statistics across seeds at inner steps 0, 1, 2, ...

    They are computed from the mean of each run over its tasks. A run that diverged on most tasks has no mean and is
    left out.
    """

    seeds: int
    """Number of seeds, not counting runs that are left out."""
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    """Standard deviations across seeds, with `seeds` - 1 in the denominator; NaN with fewer than two seeds."""
    ci95: tuple[float, ...]
    """Half-widths of the 95 % intervals of the means across seeds (Student's t); NaN with fewer than two seeds."""


@dataclass(frozen=True, eq=False)
class SeedGroup:
    """Runs with the same settings and different seeds, or a single run."""

    label: str
    runs: tuple[RunResult, ...] = field(repr=False)
    loss: SeedCurve = field(repr=False)
    accuracy: SeedCurve | None = field(repr=False)

    @property
    def is_repeated(self) -> bool:
        """Whether the group contains runs with several seeds."""
        return len(self.runs) > 1

    @property
    def name(self) -> str:
        """The label and, if there are several seeds, their number: `MAML (3 seeds)`, `MAML (2 of 3 seeds)`.

        The second text means that statistics leave out one seed, because the run with this seed diverged on most tasks.
        """
        kept = "" if self.loss.seeds == len(self.runs) else f"{self.loss.seeds} of "
        return f"{self.label} ({kept}{len(self.runs)} seeds)" if self.is_repeated else self.label

    def over_seeds(self, metric: Metric) -> SeedCurve:
        """Return the statistics of the metric across seeds."""
        curve = self.accuracy if metric == "accuracy" else self.loss
        assert curve is not None  # only classification has an accuracy
        return curve

    def curve(self, metric: Metric) -> Curve:
        """Return the means at each inner step with 95 % intervals.

        Means and intervals are computed across seeds if the group has several seeds, otherwise across tasks.
        """
        if self.is_repeated:
            seeds = self.over_seeds(metric)
            return Curve(seeds.mean, seeds.ci95)
        evaluation = self.runs[0].evaluation
        curve = evaluation.accuracy if metric == "accuracy" else evaluation.loss
        assert curve is not None
        return curve


@dataclass(frozen=True, eq=False)
class SeedPair:
    """Test of two groups of runs, each with several seeds, on the same held-out tasks."""

    a: SeedGroup
    b: SeedGroup
    metric: Metric
    step: int
    test: WelchTest
    """Test of the difference a minus b between the means of the runs.

    Means exclude diverged tasks. Runs that diverged on most tasks are excluded.
    """
    p_holm: float
    family: int
    verdict: str


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs evaluated on the same held-out tasks, and tests of their differences."""

    protocol: Protocol
    runs: tuple[RunResult, ...]
    pairs: tuple[Pair, ...]
    """Tests of the metric after the last inner step, for all pairs of runs with the same tasks.

    Runs that differ only in the seed are not tested: their difference says nothing about the settings.
    """
    seeds: tuple[SeedPair, ...]
    """Tests of all pairs of groups of runs in which both groups have several seeds."""
    target: float | None
    """Target accuracy as a fraction, or target loss; None if there is no target."""
    warnings: tuple[str, ...]
    groups: tuple[SeedGroup, ...] = ()
    """All runs, divided into groups. Runs that differ only in the seed are in the same group."""

    @property
    def repeated(self) -> tuple[SeedGroup, ...]:
        """The groups of runs that have several seeds."""
        return tuple(group for group in self.groups if group.is_repeated)

    @property
    def metric(self) -> Metric:
        """Compared metric: accuracy if the runs have one, otherwise loss."""
        return "accuracy" if self.runs[0].evaluation.accuracy else "loss"

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Conclusions of all tests, starting with the tests across seeds."""
        return (*(pair.verdict for pair in self.seeds), *(pair.verdict for pair in self.pairs))

    @property
    def deciding(self) -> tuple[SeedPair | Pair, ...]:
        """Main tests: all tests across seeds, and all paired tests except those of two runs that both belong to groups
        tested across seeds."""
        over_seeds = {run for pair in self.seeds for group in (pair.a, pair.b) for run in group.runs}
        return (*self.seeds, *(pair for pair in self.pairs if not {pair.a, pair.b} <= over_seeds))

    @property
    def conclusions(self) -> tuple[str, ...]:
        """Conclusions of the main tests, then a sentence about each run that diverged on too many tasks for a test."""
        verdicts: list[str] = []
        lost: dict[RunResult, str] = {}
        for pair in self.deciding:
            untested = () if isinstance(pair, SeedPair) or pair.test.most_are_finite else (pair.a, pair.b)
            mostly_lost = [run for run in untested if 2 * run.diverged >= run.evaluation.tasks]
            for run in mostly_lost:
                count = f"{run.diverged:,} of the same {run.evaluation.tasks:,} tasks"
                lost[run] = f"{run.label} diverged on {count}: too few tasks remain to compare it with other runs"
            if not mostly_lost:
                verdicts.append(pair.verdict)
        return (*verdicts, *lost.values())

    @property
    def timed(self) -> RunResult | None:
        """Reference run for speed ratios: the first run with a known time per meta-step."""
        return next((run for run in self.runs if run.costs.seconds_per_step), None)

    @property
    def last_steps(self) -> tuple[int, ...]:
        """Number of the last inner step of each run."""
        return tuple(run.evaluation.steps[-1] for run in self.runs)

    def speed_ratio(self, run: RunResult) -> float | None:
        """Return the meta-steps per second of `run` divided by those of the reference run `timed`; None if unknown."""
        own = run.costs.seconds_per_step
        first = self.timed.costs.seconds_per_step if self.timed else None
        return first / own if first and own else None


@dataclass(frozen=True)
class Comparing:
    """Progress of a comparison."""

    run: str
    """Label of the current run."""
    number: int
    """Position of the current run in the list of runs, starting at 1."""
    runs: int
    done: int
    """Number of finished held-out tasks."""
    tasks: int
    recorded: Recorded | None = field(default=None, repr=False)
    """Recorded training curves and costs of all runs; None except in the first progress message of a comparison."""
    measured: Comparison | None = field(default=None, repr=False)
    """Comparison of the runs evaluated so far; None except in the first progress message after each evaluation. It
    contains no tests, because Holm's correction and the conclusions need all runs."""
