"""Hints about likely problems of a training run, which are recognised from the events of the run alone.

Each kind of hint is given at most once per run. Thresholds are cautious, so that hints are rarely wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, fixed_reason
from metatui.config.registry import ALGORITHMS
from metatui.config.settings import Settings
from metatui.config.usual import usual_values
from metatui.events import Evaluated, Evaluation, Event, Hinted, HintKind, Progress, Started, Tweaked
from metatui.learning.engines.autotune import in_ms
from metatui.learning.training.best_model import BestModel
from metatui.utils.errors import BadInput
from metatui.utils.numbers import interval
from metatui.utils.text import format_count

MIN_STEPS = 100
"""The movement of the parameters is judged only after this number of meta-steps."""

MIN_MOVEMENT = 0.05
"""If the relative change of the parameters, extrapolated to the whole training, is below this value, a hint says that
the parameters hardly move. With the bundled presets, the change is at least 0.5."""

RISE = 3.0
"""Training is reported as diverging only if the mean meta-loss since the last validation exceeds this multiple of the
lowest mean over the meta-steps between two successive earlier validations."""

PATIENCE = 3
"""Overfitting is reported only after this number of validations without a new best result. Other problems that single
validations may show by chance are reported only when they appear in this number of validations in a row."""

LASTING, EXCESS, EXCESS_TRAINED = 5, 1.5, 1.1
"""Overfitting in regression is also reported if, in `LASTING` validations in a row, the loss after the last inner step
exceeds `EXCESS` times that of the best validation, and the loss after as many inner steps as in training
exceeds `EXCESS_TRAINED` times that of the best validation. Confidence intervals over tasks are not used: all
validations use the same tasks, so a change between two validations can be due to the training even if it is much
smaller than the intervals."""

LEARNED, GAP = 0.95, 0.15
"""Overfitting in classification is also reported if two conditions are met in `PATIENCE` validations in a row: the mean
accuracy in training is at least `LEARNED` (more meta-steps would bring little improvement), and it exceeds the accuracy
in validation by more than the sum of `GAP` and the half-width of the validation's interval."""

MAX_RELATIVE_LOSS_HALF_WIDTH, MAX_ACCURACY_HALF_WIDTH = 0.75, 0.075
"""A validation is noisy if the half-width of its confidence interval exceeds `MAX_RELATIVE_LOSS_HALF_WIDTH`
times the loss (for regression) or `MAX_ACCURACY_HALF_WIDTH` (for classification)."""

USEFUL_LOSS, USEFUL_ACCURACY = 0.3, 0.03
"""The suggested number of validation tasks is large enough that the half-width of the confidence interval is about
`USEFUL_LOSS` times the loss (for regression) or `USEFUL_ACCURACY` (for classification)."""

SLOWDOWN = 3.0
"""If the meta-steps of a run take more than this multiple of the time measured for its engine, a hint says that other
work slows the run down."""

SLOW_SECONDS = 60.0
"""The time of meta-steps is averaged over at least this many seconds of training."""

MAX_TASKS = 2000
"""Largest suggested number of validation tasks."""


@dataclass
class Mean:
    """Running mean of a metric of the meta-steps since the last validation."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.squares += value * value

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else math.nan

    @property
    def half(self) -> float:
        """Half-width of the 95 % interval of the mean."""
        if self.count < 2:
            return math.inf
        variance = max(0.0, self.squares / self.count - self.mean**2) * self.count / (self.count - 1)
        return 1.96 * math.sqrt(variance / self.count)


@dataclass
class Best:
    """The best validation result, and the meta-losses of the meta-steps before that validation."""

    iteration: int
    metric: tuple[float, float]
    """Accuracy (for regression, loss) after the last inner step, and the half-width of its confidence interval."""
    trained: tuple[float, float]
    """Like `metric`, but after as many inner steps as in training."""
    meta_loss: tuple[float, float]
    """Mean meta-loss since the previous validation, and the half-width of its confidence interval."""


@dataclass
class HintState:
    """The part of `Hints` that a checkpoint contains, so that a resumed run does not repeat hints."""

    done: list[HintKind] = field(default_factory=list)
    """Kinds of hints that were already given or no longer apply."""
    meta_loss: Mean = field(default_factory=Mean)
    accuracy: Mean = field(default_factory=Mean)
    """Accuracy on training tasks; empty for regression."""
    lowest: float | None = None
    """Lowest mean meta-loss so far, where each mean is over the meta-steps between two successive validations."""
    best: Best | None = None
    rising: int = 0
    """Number of consecutive validations, including the latest, at which the training was diverging (see `RISE`)."""
    worse: int = 0
    """Number of consecutive validations, including the latest, that were worse than the best validation and whose
    confidence intervals do not overlap with that of the best validation."""
    exceeding: int = 0
    """Number of consecutive validations, including the latest, with a much higher loss than the best (see `EXCESS`)."""
    behind: int = 0
    """Number of consecutive validations, including the latest, with a much lower accuracy than in training (see `GAP`),
    of which none is clearly better than the first."""
    first_behind: tuple[float, float] | None = None
    """Accuracy of the first validation that `behind` counts, and the half-width of its interval."""
    noisy: int = 0
    """Number of consecutive noisy validations, including the latest."""
    worsening: int = 0
    """Number of consecutive validations, including the latest, that were worse after the last inner step than after an
    earlier one."""


class Hints:
    """Watches the events of one training run and gives hints."""

    def __init__(self, moved: Callable[[], float], *, has_batch_norm: bool, measured_ms: float | None = None) -> None:
        """Create the hints for one run.

        Args:
            moved: function that returns how far the parameters are from their initial values, relative to the norm of
                the initial values.
            has_batch_norm: whether the model has batch norm.
            measured_ms: measured time per meta-step of the engine on a CPU, in milliseconds, if known.
        """
        self._moved = moved
        self._has_batch_norm = has_batch_norm
        self._measured_ms = measured_ms
        self._timed_from: Progress | None = None
        """The meta-step from which times are averaged."""
        self._state = HintState()

    def hints_for(self, event: Event, settings: Settings, model: BestModel) -> Iterator[Hinted]:
        """Yield the hints that follow from `event`.

        Args:
            settings: the settings after the event.
            model: the best validation result after the event.
        """
        match event:
            case Progress():
                self._state.meta_loss.add(event.meta_loss)
                if event.accuracy is not None:
                    self._state.accuracy.add(event.accuracy)
                yield from self._slowed_down(event, settings)
            case Started():
                yield from self._batch_norm(event.iteration, settings)
            case Tweaked(path="algorithm.inner_steps" | "algorithm.meta_batch" as path):
                self._measured_ms = None  # the time was measured before this change
                if path == "algorithm.inner_steps":  # nor can losses before and after this change be compared
                    self._state.lowest = self._state.best = None
            case Evaluated():
                yield from self._validated(event, settings, model)
            case _:
                pass

    def failed(self, iteration: int, quantity: str, settings: Settings, model: BestModel) -> Iterator[Hinted]:
        """Yield the hint for a run that ends because `quantity` of the meta-step after `iteration` is not finite."""
        path, new = _lower_rate(settings, model.settings or {}, _INNER)
        reason = f"The {quantity} of meta-step {iteration + 1} is not finite"
        yield from self._hint("diverging", iteration, settings, reason, path, new)

    def values(self) -> dict[str, Any]:
        """Return the state as JSON values for a checkpoint."""
        return asdict(self._state)

    def restore(self, values: object) -> None:
        """Restore the state that the method `values` returned. Raises BadInput if the argument is invalid."""
        try:
            self._state = TypeAdapter(HintState).validate_python(values)
        except ValidationError:
            raise BadInput("the checkpoint is damaged: its value 'hints' is invalid") from None

    def _validated(self, event: Evaluated, settings: Settings, model: BestModel) -> Iterator[Hinted]:
        state, evaluation, meta_loss = self._state, event.evaluation, self._state.meta_loss
        if not meta_loss.count and event.iteration:  # the parameters have not changed since the last validation
            return
        metric, trained = evaluation.final, _after(evaluation, _training_steps(settings))
        sign, best = -1 if evaluation.accuracy else 1, state.best
        is_worse = best is not None and _apart(metric, best.metric, sign) and _apart(trained, best.trained, sign)
        rises = is_worse and state.lowest is not None and meta_loss.mean > RISE * state.lowest
        state.worse = state.worse + 1 if is_worse else 0
        state.rising = state.rising + 1 if rises else 0
        state.noisy = state.noisy + 1 if _is_noisy(evaluation) else 0
        exceeds = (
            best is not None and metric[0] > EXCESS * best.metric[0] and trained[0] > EXCESS_TRAINED * best.trained[0]
        )
        state.exceeding = state.exceeding + 1 if exceeds and sign == 1 else 0
        self._count_behind(max(metric, trained), settings)
        earlier = _best_step(evaluation)
        state.worsening = state.worsening + 1 if earlier < evaluation.steps[-1] else 0
        yield from self._diverging(event, settings, model)
        yield from self._overfitting(event, settings, model)
        yield from self._behind_training(event, settings)
        yield from self._worsening_steps(event, settings)
        yield from self._noisy_validation(event, settings)
        yield from self._hardly_moving(event, settings)
        if event.best:
            state.best = Best(event.iteration, metric, trained, (meta_loss.mean, meta_loss.half))
        if meta_loss.count:
            state.lowest = meta_loss.mean if state.lowest is None else min(state.lowest, meta_loss.mean)
        state.meta_loss, state.accuracy = Mean(), Mean()

    def _count_behind(self, accuracy: tuple[float, float], settings: Settings) -> None:
        """Update the number of validations in a row whose accuracy is much lower than in training."""
        state = self._state
        learned = self._is_comparable(settings) and state.accuracy.mean >= LEARNED
        is_behind = learned and _apart((state.accuracy.mean - GAP, 0.0), accuracy, 1)
        if not is_behind or (state.first_behind is not None and _apart(accuracy, state.first_behind, 1)):
            state.behind, state.first_behind = 0, None
        if is_behind:
            state.behind, state.first_behind = state.behind + 1, state.first_behind or accuracy

    def _is_comparable(self, settings: Settings) -> bool:
        """Return whether training tasks are at least as hard as validation tasks, apart from their classes."""
        published = ALGORITHMS[settings.algorithm.name].published_batch_norm
        return (
            settings.is_classification
            and settings.ways_in_training[0] >= settings.task.ways
            and settings.shots_in_training[1] <= settings.evaluation_shots
            # In training, batch norm is transductive, which makes tasks easier.
            and (not self._has_batch_norm or settings.evaluation.batch_norm in ("transductive", published))
        )

    def _hint(
        self, kind: HintKind, iteration: int, settings: Settings, reason: str, path: str, new: Scalar
    ) -> Iterator[Hinted]:
        """Yield a hint to set `path` to `new`, unless `path` has this value or a hint of this kind was given before."""
        old = settings.value(path)
        if kind not in self._state.done and old != new:
            self._state.done.append(kind)
            yield Hinted(iteration, kind, reason, path, old, new)

    def _batch_norm(self, iteration: int, settings: Settings) -> Iterator[Hinted]:
        algorithm = ALGORITHMS[settings.algorithm.name]
        published, mode = algorithm.published_batch_norm, settings.evaluation.batch_norm
        if published and self._has_batch_norm and FIELDS["evaluation.batch_norm"].is_relevant(settings):
            reason = (
                f"Batch norm on held-out tasks is {mode.replace('_', ' ')}, but the published results of "
                f"{algorithm.title} are {'not ' if published == 'per_example' else ''}transductive"
            )
            yield from self._hint("batch_norm", iteration, settings, reason, "evaluation.batch_norm", published)

    def _slowed_down(self, event: Progress, settings: Settings) -> Iterator[Hinted]:
        start = self._timed_from = self._timed_from or event
        if self._measured_ms is None or event.seconds - start.seconds < SLOW_SECONDS:
            return
        self._timed_from = event
        ms = 1000 * (event.seconds - start.seconds) / (event.iteration - start.iteration)
        if ms > SLOWDOWN * self._measured_ms:
            reason = (
                f"Meta-steps take {in_ms(ms)}, but took {in_ms(self._measured_ms)} when the engine was measured: other "
                "work on this machine probably slows down the run, whose threads have to wait for each other"
            )
            yield from self._hint("slowed_down", event.iteration, settings, reason, "compute.threads", 1)

    def _diverging(self, event: Evaluated, settings: Settings, model: BestModel) -> Iterator[Hinted]:
        evaluation = event.evaluation
        if model.diverging >= 2:
            tasks = f"{evaluation.diverged or 0:,} of {evaluation.tasks:,} in the last"
            reason, first = f"Tasks diverged in two validations in a row ({tasks})", "algorithm.inner_lr"
        elif self._state.rising >= 2 and self._state.lowest is not None:
            now = f"{self._state.meta_loss.mean:.3g}, up from a low of {self._state.lowest:.3g}"
            reason, first = f"Training is diverging: the mean meta-loss since the last validation is {now}", _OUTER
        else:
            return
        path, new = _lower_rate(settings, model.settings or {}, first)
        yield from self._hint("diverging", event.iteration, settings, reason, path, new)

    def _overfitting(self, event: Evaluated, settings: Settings, model: BestModel) -> Iterator[Hinted]:
        best, now = self._state.best, (self._state.meta_loss.mean, self._state.meta_loss.half)
        is_worse = self._state.worse >= 2 or self._state.exceeding >= LASTING
        if best is None or not is_worse or model.since_best < PATIENCE or not _apart(best.meta_loss, now, 1):
            return
        values = [_formatted(event.evaluation, *metric) for metric in (event.evaluation.final, best.metric)]
        reason = (
            f"Overfitting: training improves, but the validation result is {values[0]}, worse than {values[1]} at "
            f"meta-step {best.iteration:,}; the final test uses the parameters of that meta-step"
        )
        yield from self._hint("overfitting", event.iteration, settings, reason, "training.iterations", event.iteration)

    def _behind_training(self, event: Evaluated, settings: Settings) -> Iterator[Hinted]:
        if self._state.behind < PATIENCE:
            return
        evaluation = event.evaluation
        value = _formatted(evaluation, *max(evaluation.final, _after(evaluation, _training_steps(settings))))
        reason = (
            f"Overfitting: the accuracy is {100 * self._state.accuracy.mean:.1f} % on training tasks, but {value} on "
            "validation tasks, and has not clearly improved in three validations; more training classes would help "
            "more than more meta-steps"
        )
        yield from self._hint("overfitting", event.iteration, settings, reason, "training.iterations", event.iteration)

    def _worsening_steps(self, event: Evaluated, settings: Settings) -> Iterator[Hinted]:
        if self._state.worsening < PATIENCE:
            return
        evaluation = event.evaluation
        step, last = _best_step(evaluation), evaluation.steps[-1]
        value, better = (_formatted(evaluation, *_after(evaluation, each)) for each in (last, step))
        reason = (
            f"Adaptation to validation tasks makes the result worse after inner step {step}: it is {better} after "
            f"{format_count(step, 'inner step')} and {value} after {last}; training uses "
            f"{format_count(_training_steps(settings), 'inner step')}"
        )
        yield from self._hint("worsening_steps", event.iteration, settings, reason, "evaluation.inner_steps", step)

    def _noisy_validation(self, event: Evaluated, settings: Settings) -> Iterator[Hinted]:
        if self._state.noisy < 2:
            return
        evaluation, tasks = event.evaluation, settings.evaluation.tasks
        mean, half = evaluation.final
        ratio = min(100.0, half / (USEFUL_ACCURACY if evaluation.accuracy else USEFUL_LOSS * mean))
        needed = min(MAX_TASKS, 50 * math.ceil(tasks * ratio**2 / 50))
        reason = f"Validation is noisy: {_formatted(evaluation, mean, half)} with {tasks:,} tasks"
        if needed > tasks:
            yield from self._hint("noisy_validation", event.iteration, settings, reason, "evaluation.tasks", needed)

    def _hardly_moving(self, event: Evaluated, settings: Settings) -> Iterator[Hinted]:
        if "hardly_moving" in self._state.done or settings.model.weights or event.iteration < MIN_STEPS:
            return
        moved = self._moved()
        if moved * max(1.0, settings.training.iterations / event.iteration) < MIN_MOVEMENT:
            path, new = _higher_rate(settings)
            reason = f"The parameters hardly move: {event.iteration:,} meta-steps changed them by {100 * moved:.2g} %"
            yield from self._hint("hardly_moving", event.iteration, settings, reason, path, new)
        else:
            self._state.done.append("hardly_moving")


_INNER, _OUTER = "algorithm.inner_lr", "algorithm.outer_lr"


def _training_steps(settings: Settings) -> int:
    own = "algorithm.inner_steps" in ALGORITHMS[settings.algorithm.name].uses
    return settings.algorithm.inner_steps if own else 1


def _after(evaluation: Evaluation, steps: int) -> tuple[float, float]:
    """Return the mean metric after `steps` inner steps (at most the last one), and the half-width of its interval."""
    curve = evaluation.accuracy or evaluation.loss
    step = min(steps, len(curve.mean) - 1)
    return curve.mean[step], curve.ci95[step]


def _apart(higher: tuple[float, float], lower: tuple[float, float], sign: int) -> bool:
    """Return whether the interval of `higher` lies entirely above that of `lower`, or below it if `sign` is -1."""
    return sign * (higher[0] - lower[0]) > higher[1] + lower[1]


def _best_step(evaluation: Evaluation) -> int:
    """Return the inner step (at least 1) with the best result, or the last one if it is not clearly worse."""
    last, sign = evaluation.steps[-1], 1 if evaluation.accuracy else -1
    step = max(range(1, last + 1), key=lambda each: sign * _after(evaluation, each)[0], default=last)
    return step if _apart(_after(evaluation, step), evaluation.final, sign) else last


def _is_noisy(evaluation: Evaluation) -> bool:
    mean, half = evaluation.final
    return mean > 0 and half > (MAX_ACCURACY_HALF_WIDTH if evaluation.accuracy else MAX_RELATIVE_LOSS_HALF_WIDTH * mean)


def _formatted(evaluation: Evaluation, mean: float, half: float) -> str:
    return f"{interval(100 * mean, 100 * half)} %" if evaluation.accuracy else interval(mean, half)


def _lower_rate(settings: Settings, best: Mapping[str, Any], first: str) -> tuple[str, float]:
    """Return a learning rate to lower and its new value.

    Args:
        best: values of the live settings at the best validation, keyed by path.
        first: path of the rate to halve if no rate exceeds its value in `best` or the usual value for the algorithm.
    """
    rates = _rates(settings)
    ordered = sorted(rates, key=lambda path: path != first)
    references: tuple[Mapping[str, Any], ...] = best, usual_values(settings)
    for reference in references:
        for path in ordered:
            if rates[path] > (lower := reference.get(path, rates[path])):
                return path, lower
    return ordered[0], rates[ordered[0]] / 2


def _higher_rate(settings: Settings) -> tuple[str, float]:
    """Return a learning rate to raise and its new value.

    The first rate that is below its usual value is raised to that value. If no rate is below its usual value, the outer
    learning rate is multiplied by 10.
    """
    usual: Mapping[str, Any] = usual_values(settings)
    for path, rate in _rates(settings).items():
        if (higher := usual.get(path, rate)) > rate:
            return path, higher
    return _OUTER, min(100.0, 10 * settings.algorithm.outer_lr)


def _rates(settings: Settings) -> dict[str, float]:
    """Return the learning rates that can change during the run, keyed by path."""
    rates = {_OUTER: settings.algorithm.outer_lr, _INNER: settings.algorithm.inner_lr}
    return {path: rate for path, rate in rates.items() if fixed_reason(path, settings) is None}
