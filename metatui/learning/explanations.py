"""Explanations of algorithms with the user's settings filled in, and sentences that several explanations share.

Each algorithm explains itself (`Algorithm.explain`). This module does not import torch, so the app can show an
explanation immediately.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS
from metatui.config.registry import ALGORITHMS, DATA, Usual
from metatui.config.settings import Settings
from metatui.utils.text import format_count

FINN = (
    "Chelsea Finn, Pieter Abbeel and Sergey Levine: Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks. "
    "ICML 2017."
)
EXAMPLES = ("glyphs", "sinusoid")
"""Data sets, one for each kind of task, for the explanation of algorithms that do not support the selected data set."""

NICHOL = "Alex Nichol, Joshua Achiam and John Schulman: On First-Order Meta-Learning Algorithms. 2018."


@dataclass(frozen=True)
class Explanation:
    """The description of an algorithm with the current settings."""

    title: str
    idea: str
    rule: tuple[str, ...] = ()
    """Update equations."""
    symbols: str = ""
    """Meaning of the symbols in `rule`."""
    code: tuple[str, ...] = ()
    """Indented lines of pseudo-code, with numbers instead of symbols."""
    costs: tuple[str, ...] = ()
    """Costs of a meta-step, each as one sentence."""
    gradients: int = 0
    """Number of times that a meta-step computes the gradient of one task's loss, not counting gradients for metrics."""
    hessian_products: int = 0
    """Number of Hessian-vector products in a meta-step."""
    paper: tuple[str, ...] = ()
    usual: Usual = field(default_factory=dict)

    def usual_lines(self, write: Callable[[Mapping[str, Scalar]], str]) -> tuple[str, ...]:
        """Return the usual values of the algorithm's settings, one line for each kind of task.

        Rarely used settings whose usual value is their default are left out.

        Args:
            write: function that formats settings and their values, for example `format_assignments` or
                `format_with_labels`.
        """
        shown = {
            kind: {path: value for path, value in values.items() if FIELDS[path].main or value != FIELDS[path].default}
            for kind, values in self.usual.items()
        }
        return tuple(f"{kind}: {write(values)}" for kind, values in shown.items())


@dataclass(frozen=True)
class Rates:
    """Description of learned inner learning rates α."""

    meaning: str
    start: str
    """The line of pseudo-code that sets the initial rates."""
    factor: str
    """The factor by which an inner step multiplies the gradient."""


def explanation(settings: Settings, algorithm: str | None = None) -> Explanation:
    """Explain `algorithm` with these settings. By default, explain the algorithm that `settings` select."""
    name = algorithm or settings.algorithm.name
    return replace(ALGORITHMS[name].explain(selecting(settings, name)), usual=ALGORITHMS[name].usual)


def selecting(settings: Settings, algorithm: str) -> Settings:
    """Return `settings` with another algorithm, even if that algorithm does not accept the other settings.

    If that algorithm does not support the tasks of the data set, the result has a data set whose tasks it supports.
    """
    selected = settings.model_copy(update={"algorithm": settings.algorithm.model_copy(update={"name": algorithm})})
    others = (
        selected.model_copy(update={"task": settings.task.model_copy(update={"source": source})}) for source in EXAMPLES
    )
    return next((each for each in (selected, *others) if _is_supported(each)), selected)


def _is_supported(settings: Settings) -> bool:
    """Return whether the algorithm supports the tasks of the data set."""
    violated = ALGORITHMS[settings.algorithm.name].violations(settings)
    return all(path != "algorithm.name" for path, _ in violated)


def gradient_based(
    settings: Settings,
    *,
    title: str,
    idea: str,
    outer_rule: str,
    outer_gradient: str,
    costs: tuple[str, ...],
    hessian_products: int = 0,
    paper: tuple[str, ...],
    inner_rule: str = "θ'_i = θ − α ∇L_i(D_i; θ)",
    symbols: str = "",
    before: tuple[str, ...] = (),
    start: str = "θ' ← θ",
    adapted: str = "θ'",
    inner_loss: str = "",
    learned: str = "θ",
    rates: Rates | None = None,
) -> Explanation:
    """Explain an algorithm that adapts with gradient steps and takes Adam steps with a meta-gradient.

    Args:
        symbols: meaning of additional symbols.
        before: lines of pseudo-code before the inner loop of a task.
        start: the first line of the inner loop.
        adapted: name of the parameters that inner steps change.
        inner_loss: support loss in the pseudo-code; by default, the loss of the whole model with `adapted`.
        learned: symbols of the meta-parameters.
        rates: the inner learning rates, if they are learned.
    """
    algorithm = settings.algorithm
    tasks = algorithm.meta_batch
    meaning = f"inner learning rate, {algorithm.inner_lr:g}" if rates is None else rates.meaning
    initial, repeat = outer_loop(settings)
    return Explanation(
        title=title,
        idea=idea,
        rule=(inner_rule, outer_rule),
        symbols=(
            f"α: {meaning}. β: outer learning rate, {outer_lr(settings)} (Adam). "
            f"D_i, D'_i: support set and query set of task i. L: {loss(settings)}."
            + "".join(f" {text}" for text in (symbols, _selection(settings)) if text)
        ),
        code=(
            initial,
            *([] if rates is None else [rates.start]),
            repeat,
            f"    for each of {format_count(tasks, 'sampled task')}:",
            f"        D ← {support(settings)}; D' ← {query(settings)}",
            *(f"        {line}" for line in before),
            *inner_steps(
                settings,
                algorithm.inner_steps,
                indent=8,
                rate=None if rates is None else rates.factor,
                start=start,
                adapted=adapted,
                inner_loss=inner_loss,
            ),
            f"    {outer_gradient}",
            *adam_step(settings, learned),
        ),
        costs=(
            inner_cost(settings, "support"),
            f"{format_count(tasks, 'gradient')} of query losses, one per task.",
            *costs,
        ),
        gradients=inner_gradients(settings) + tasks,
        hessian_products=hessian_products,
        paper=paper,
    )


def initialisation(settings: Settings) -> str:
    return f"θ ← random initialisation of the model, from seed {settings.training.seed}"


def outer_loop(settings: Settings) -> tuple[str, ...]:
    return initialisation(settings), f"repeat {times(settings.training.iterations)}:"


def _selection(settings: Settings) -> str:
    """Return a sentence that names the parameters that `algorithm.adapt` selects, or '' if it selects all of them."""
    selection = settings.algorithm.adapt
    if selection == "all" or "algorithm.adapt" not in ALGORITHMS[settings.algorithm.name].uses:
        return ""
    names = {"head": "the last layer", "body": "the layers before the last"}
    return f"Inner steps change only {names.get(selection, f'the parameters {selection}')}."


def inner_steps(
    settings: Settings,
    steps: int,
    *,
    indent: int,
    batch: int = 0,
    rate: str | None = None,
    start: str = "θ' ← θ",
    adapted: str = "θ'",
    inner_loss: str = "",
) -> tuple[str, ...]:
    """Return the lines of the pseudo-code for the inner loop.

    Args:
        batch: number of examples of D that each step uses; 0 if every step uses all examples.
        rate: the factor by which the gradient is multiplied; by default, the inner learning rate.
        start, adapted, inner_loss: see `gradient_based`.
    """
    algorithm = settings.algorithm
    rate = f"{algorithm.inner_lr:g}" if rate is None else rate
    first, lines = [start], []
    if batch:
        lines.append(f"B ← the next {format_count(batch, 'example')} of D, cyclically")
    data = "B" if batch else "D"
    gradient = f"∇{inner_loss or f'L({data}; {adapted})'}"
    if algorithm.inner_clip:
        lines += [f"g ← {gradient}", f"g ← g, scaled down to a norm of {algorithm.inner_clip:g} if its norm is larger"]
        gradient = "g"
    if algorithm.inner_weight_decay:
        lines.append(f"g ← {gradient} + {algorithm.inner_weight_decay:g} {adapted}")
        gradient = "g"
    match algorithm.inner_optimizer:
        case "sgd":
            lines.append(f"{adapted} ← {adapted} − {rate} {gradient}")
        case "momentum":
            first.append("v ← 0")
            lines += [f"v ← {algorithm.inner_momentum:g} v + {gradient}", f"{adapted} ← {adapted} − {rate} v"]
        case "adam":
            lines.append(
                f"{adapted} ← Adam({adapted}, {gradient}), step size {rate.removesuffix(' ∘')}, without momentum"
            )
    return tuple(
        " " * indent + line for line in (*first, f"repeat {times(steps)}:", *(f"    {line}" for line in lines))
    )


def adam_step(settings: Settings, learned: str = "θ") -> tuple[str, ...]:
    clip = settings.algorithm.grad_clip
    clipping = (f"    g ← g, scaled down to a norm of {clip:g} if its norm is larger",) if clip else ()
    return *clipping, f"    {learned} ← Adam({learned}, g), step size {outer_lr(settings)}"


def inner_gradients(settings: Settings) -> int:
    return settings.algorithm.meta_batch * settings.algorithm.inner_steps


def inner_cost(settings: Settings, kind: str) -> str:
    tasks, steps = settings.algorithm.meta_batch, settings.algorithm.inner_steps
    inner_steps = f"{format_count(tasks, 'task')} x {format_count(steps, 'inner step')}"
    return f"{format_count(tasks * steps, 'gradient')} of {kind} losses ({inner_steps})."


def support(settings: Settings) -> str:
    """Return the size of the support set of a training task."""
    return _support(settings, settings.ways_in_training, settings.shots_in_training)


def held_out_support(settings: Settings) -> str:
    """Return the size of the support set of a held-out task."""
    ways, shots = settings.task.ways, settings.evaluation_shots
    return _support(settings, (ways, ways), (shots, shots))


def _support(settings: Settings, ways: tuple[int, int], shots: tuple[int, int]) -> str:
    if settings.is_classification:
        return f"{count_between(*shots, 'support image')} of each of {count_between(*ways, 'class')}"
    return count_between(*shots, "support point")


def query(settings: Settings) -> str:
    if settings.is_classification:
        return f"{format_count(settings.task.queries, 'query image')} of each class"
    return format_count(settings.task.queries, "query point")


def loss(settings: Settings) -> str:
    loss_of = DATA[settings.task.source].loss_of
    name = "mean cross-entropy" if settings.is_classification else "mean squared error"
    return f"{name} of {loss_of}" if loss_of else name


def outer_lr(settings: Settings) -> str:
    algorithm = settings.algorithm
    if algorithm.outer_schedule == "constant":
        return f"{algorithm.outer_lr:g}"
    return f"{algorithm.outer_lr:g}, {algorithm.outer_schedule} to {algorithm.outer_lr_final:g}"


def count_between(low: int, high: int, noun: str) -> str:
    return (f"{low:,} to " if low < high else "") + format_count(high, noun)


def times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"
