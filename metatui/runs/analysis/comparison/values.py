"""Result of a comparison as plain values, which the command line, the app and reports show."""

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
    """Evaluation protocol of all runs.

    Properties that a trained model fixes, such as its ways, are in the evaluation and settings of each run.
    """

    source: str
    split: str
    """`test` or `val`."""
    tasks: int
    shots: int
    queries: int
    steps: int
    """Number of inner steps; every curve has `steps` + 1 values."""
    seed: int
    """Seed of the held-out tasks."""
    batch_norm: str | None
    """None if the models have no batch norm."""
    rotations: bool | None
    """None if the source has no rotations."""


@dataclass(frozen=True)
class TaskValues:
    """Metrics of each held-out task at each inner step from 0, as read-only arrays."""

    loss: Floats
    """[T, steps + 1], float64."""
    accuracy: Floats | None
    """[T, steps + 1], fractions of the query set; None for regression."""

    @cached_property
    def diverged(self) -> NDArray[np.bool_]:
        """Whether each task diverged (see `metatui.learning.evaluation.evaluate.diverged`), [T]."""
        import torch

        from metatui.learning.evaluation.evaluate import diverged

        # A copy, because torch warns about read-only arrays; from_numpy ignores the caller's default device.
        loss = torch.from_numpy(self.loss.copy())
        lost: NDArray[np.bool_] = diverged(loss, regression=self.accuracy is None).numpy()
        return lost


@dataclass(frozen=True)
class TimeToTarget:
    """A point in the training of a run."""

    iterations: int
    tasks: int
    seconds: float
    """Training time, without pauses, validations and checkpoints."""


@dataclass(frozen=True)
class LiveChange:
    """A setting changed while the run trained."""

    at: TimeToTarget
    label: str
    """`inner_lr 0.1`."""


@dataclass(frozen=True)
class Averages:
    """A training curve with the smoothing of the app's charts."""

    decay: float
    """One of `metatui.utils.smoothing.DECAYS`."""
    meta_loss: tuple[float, ...]
    accuracy: tuple[float, ...] | None


@dataclass(frozen=True)
class TrainingCurve:
    """Query loss and accuracy after adaptation on training tasks, smoothed over meta-steps.

    Every meta-step is smoothed by `learning.evaluation.statistics.smoothed`; then at most 500 evenly spaced points are
    taken, always with the last one.
    """

    span: int
    """Meta-steps smoothed over, the same for all runs of a comparison."""
    iterations: tuple[int, ...]
    """Meta-steps at each point."""
    tasks: tuple[int, ...]
    """Tasks seen at each point."""
    seconds: tuple[float, ...]
    """Training time at each point."""
    meta_loss: tuple[float, ...]
    accuracy: tuple[float, ...] | None
    """None for regression."""
    changes: tuple[LiveChange, ...] = ()
    """Live changes, in order."""
    averages: tuple[Averages, ...] = ()
    """The same points with other smoothing."""


@dataclass(frozen=True)
class ValidationCurve:
    """Metric after the last inner step at each validation of the training; nan if most tasks diverged."""

    iterations: tuple[int, ...]
    tasks: tuple[int, ...]
    seconds: tuple[float, ...]
    mean: tuple[float, ...]
    ci95: tuple[float, ...]
    diverged: tuple[int, ...]
    """Diverged validation tasks, which the means leave out; 0 in journals that do not count them."""


@dataclass(frozen=True)
class Costs:
    """Cost of training a run, as recorded in its files; None for what they do not record."""

    iterations: int
    """Number of meta-steps."""
    seconds: float | None
    """Training time."""
    seconds_per_step: float | None
    """Mean over all meta-steps, including the first ones."""
    tasks_per_second: float | None
    peak_memory_bytes: int | None
    """Memory of the process on the CPU, of the device on CUDA (see `learning.hardware.peak_memory`)."""
    device: str | None
    device_name: str | None
    host: str | None


@dataclass(frozen=True, eq=False)
class RunResult:
    """One run of a comparison."""

    run: RunFolder
    label: str
    """Short and unique in the comparison."""
    settings: Settings
    """Settings of the training, live changes included, with the inner learning rate of the best validation."""
    evaluation: Evaluation
    """The adaptation curve with its protocol."""
    values: TaskValues = field(repr=False)
    same_tasks: Hashable = field(repr=False)
    """A key that is equal for runs with the same held-out tasks."""
    diverged: int
    """Diverged held-out tasks, which the means of `evaluation` leave out."""
    training: TrainingCurve | None = field(repr=False)
    """None before the first meta-step and for `scratch`."""
    validation: ValidationCurve = field(repr=False)
    costs: Costs
    to_target: TimeToTarget | None
    """First validation that reached the target; None if none did or there is no target."""

    @property
    def id(self) -> str:
        return self.run.id


@dataclass(frozen=True, eq=False)
class Pair:
    """Paired test of two runs on the same held-out tasks."""

    a: RunResult = field(repr=False)
    b: RunResult = field(repr=False)
    metric: Metric
    step: int
    """Inner step of the test."""
    test: PairedTest
    """Test of a minus b over the tasks on which neither run diverged. Accuracies are fractions."""
    p_holm: float
    """`test.deciding_p` with Holm's correction over all pairs; nan if at least half of the tasks were left out."""
    wilcoxon_p_holm: float
    family: int
    """Number of pairs in the correction."""
    verdict: str
    """Conclusion as a sentence without a full stop."""


@dataclass(frozen=True, eq=False)
class SeedGroup:
    """Runs with the same settings and different seeds."""

    label: str
    runs: tuple[RunResult, ...] = field(repr=False)


@dataclass(frozen=True, eq=False)
class SeedPair:
    """Test of two settings, each trained with several seeds, on the same held-out tasks."""

    a: SeedGroup
    b: SeedGroup
    metric: Metric
    step: int
    test: WelchTest
    """Test of a minus b over the means of the runs.

    Means leave out diverged tasks. Runs that diverged on most tasks are left out.
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
    """Tests of every two runs with the same tasks, after the last inner step."""
    seeds: tuple[SeedPair, ...]
    """Tests of every two settings that have several seeds each."""
    target: float | None
    """A fraction for accuracy, or a loss."""
    warnings: tuple[str, ...]

    @property
    def metric(self) -> Metric:
        """The metric compared: accuracy if the runs have one."""
        return "accuracy" if self.runs[0].evaluation.accuracy else "loss"

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Conclusions of all tests, those over seeds first."""
        return (*(pair.verdict for pair in self.seeds), *(pair.verdict for pair in self.pairs))

    @property
    def deciding(self) -> tuple[SeedPair | Pair, ...]:
        """The tests to read first: runs whose settings have several seeds are compared only over seeds."""
        over_seeds = {run for pair in self.seeds for group in (pair.a, pair.b) for run in group.runs}
        return (*self.seeds, *(pair for pair in self.pairs if not {pair.a, pair.b} <= over_seeds))

    @property
    def conclusions(self) -> tuple[str, ...]:
        """Conclusions of the tests to read first."""
        return tuple(pair.verdict for pair in self.deciding)

    @property
    def timed(self) -> RunResult | None:
        """The reference run of speed ratios: the first with a known time per meta-step."""
        return next((run for run in self.runs if run.costs.seconds_per_step), None)

    def speed_ratio(self, run: RunResult) -> float | None:
        """Return the speed of `run` in meta-steps relative to the run `timed`; None if unknown."""
        own = run.costs.seconds_per_step
        first = self.timed.costs.seconds_per_step if self.timed else None
        return first / own if first and own else None


@dataclass(frozen=True)
class Comparing:
    """Progress of a comparison."""

    run: str
    """Label of the run being adapted."""
    number: int
    """Number of the run, from 1."""
    runs: int
    done: int
    """Held-out tasks finished."""
    tasks: int
