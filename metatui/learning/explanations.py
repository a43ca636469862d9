"""Explanations of the algorithms, with the user's settings filled in.

There is one function for each file in `metatui.learning.algorithms`. This module does not import torch, so the app can
show an explanation immediately.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from metatui.config.registry import DATA
from metatui.config.settings import Settings

FINN = (
    "Chelsea Finn, Pieter Abbeel and Sergey Levine: Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks. "
    "ICML 2017."
)
NICHOL = "Alex Nichol, Joshua Achiam and John Schulman: On First-Order Meta-Learning Algorithms. 2018."


@dataclass(frozen=True)
class Explanation:
    """An algorithm described with the current settings."""

    title: str
    idea: str
    rule: tuple[str, ...]
    """Update equations."""
    symbols: str
    """Meaning of the symbols in `rule`."""
    code: tuple[str, ...]
    """Pseudo-code with numbers in place of the symbols; lines are indented."""
    costs: tuple[str, ...]
    """Cost of a meta-step, one sentence each."""
    gradients: int
    """Gradients of a single task's loss per meta-step, not counting those that are only needed for metrics."""
    hessian_products: int
    """Hessian-vector products per meta-step."""
    paper: tuple[str, ...]


def explanation(settings: Settings, algorithm: str | None = None) -> Explanation:
    """Explain the algorithm of `settings`, or another one with the same settings."""
    name = algorithm or settings.algorithm.name
    # Skip validation, because another algorithm may refuse a setting that it does not use.
    group = settings.algorithm.model_copy(update={"name": name})
    return ALGORITHMS[name](settings.model_copy(update={"algorithm": group}))


def _maml(settings: Settings) -> Explanation:
    memory = {
        "unrolled": "Memory grows with the number of inner steps, because the graph of all of them is kept.",
        "recomputed": "Memory holds the graph of one inner step and the parameters after each; in exchange, the "
        "gradient of each inner step is computed twice.",
        "auto": "Memory holds the graph of all inner steps if it is small; otherwise the graph of one inner step and "
        "the parameters after each.",
    }
    return _gradient_based(
        settings,
        title="MAML: model-agnostic meta-learning",
        idea=(
            "Learn an initialisation θ from which a few gradient steps adapt the model well to a new task. MAML "
            "minimises the query loss after adaptation, and the gradient of that loss goes back through the inner "
            "steps to θ. So θ moves to where the inner steps help most."
        ),
        outer_rule="θ ← θ − β d/dθ mean_i L_i(D'_i; θ'_i)",
        outer_gradient="g ← d/dθ of the mean over tasks of L(D'; θ'), through the inner steps",
        costs=(
            f"{_count(_inner_gradients(settings), 'Hessian-vector product')}, one for each inner step of each task. "
            "They are the second order; each is a backward pass through the gradient of a support loss.",
            memory[settings.compute.second_order],
        ),
        hessian_products=_inner_gradients(settings),
        paper=(f"{FINN} Algorithms 2 and 3.",),
    )


def _fomaml(settings: Settings) -> Explanation:
    return _gradient_based(
        settings,
        title="FOMAML: first-order MAML",
        idea=(
            "MAML with the inner gradients treated as constants. The derivative of the adapted parameters θ' with "
            "respect to θ is then the identity, and the meta-gradient is the query gradient at θ'. This ignores how "
            "the inner steps themselves change with θ."
        ),
        outer_rule="θ ← θ − β mean_i ∇L_i(D'_i; θ'_i)",
        outer_gradient="g ← mean over tasks of ∇L(D'; θ')",
        costs=("No second derivatives. Memory does not grow with the number of inner steps.",),
        hessian_products=0,
        paper=(f"{FINN} Section 5.2.", f"{NICHOL} Section 3."),
    )


def _gradient_based(
    settings: Settings,
    *,
    title: str,
    idea: str,
    outer_rule: str,
    outer_gradient: str,
    costs: tuple[str, ...],
    hessian_products: int,
    paper: tuple[str, ...],
) -> Explanation:
    """Explain MAML or FOMAML."""
    algorithm = settings.algorithm
    tasks = algorithm.meta_batch
    return Explanation(
        title=title,
        idea=idea,
        rule=("θ'_i = θ − α ∇L_i(D_i; θ)", outer_rule),
        symbols=(
            f"α: inner learning rate, {algorithm.inner_lr:g}. β: outer learning rate, {_outer_lr(settings)} (Adam). "
            f"D_i, D'_i: support and query set of task i. L: {_loss(settings)}."
        ),
        code=(
            *_outer_loop(settings),
            f"    for each of {_count(tasks, 'sampled task')}:",
            f"        D ← {_support(settings, settings.training_shots)}; D' ← {_query(settings)}",
            *_inner_steps(settings, algorithm.inner_steps, indent=8),
            f"    {outer_gradient}",
            *_adam_step(settings),
        ),
        costs=(_inner_cost(settings, "support"), f"{_count(tasks, 'gradient')} of query losses, one per task.", *costs),
        gradients=_inner_gradients(settings) + tasks,
        hessian_products=hessian_products,
        paper=paper,
    )


def _reptile(settings: Settings) -> Explanation:
    algorithm = settings.algorithm
    steps, batch = algorithm.inner_steps, algorithm.inner_batch
    return Explanation(
        title="Reptile",
        idea=(
            "Train on a task for a few steps, then move the initialisation part of the way to the result. Over many "
            "tasks, θ comes close to the solutions of all of them. With several inner steps, θ also moves to where "
            "the gradients of one task agree with each other, although Reptile uses neither second derivatives nor a "
            "query set."
        ),
        rule=("W_i = k steps from θ on L_i(D_i)", "θ ← θ + ε mean_i (W_i − θ)"),
        symbols=(
            f"k: inner steps, {steps}, at learning rate {algorithm.inner_lr:g}. ε: meta-step size (outer learning "
            f"rate), {_outer_lr(settings)}. D_i: training examples of task i. L: {_loss(settings)}."
        ),
        code=(
            *_outer_loop(settings),
            f"    for each of {_count(algorithm.meta_batch, 'sampled task')}:",
            f"        D ← {_support(settings, settings.training_shots)}",
            *_inner_steps(settings, steps, indent=8, batch=batch),
            f"    θ ← θ + ε (mean over tasks of θ' − θ), ε = {_outer_lr(settings)}",
        ),
        costs=(
            _inner_cost(settings, "training"),
            "No second derivatives and no gradient of a query loss; the query loss is computed only for the curves.",
            "Memory does not grow with the number of inner steps.",
        ),
        gradients=_inner_gradients(settings),
        hessian_products=0,
        paper=(f"{NICHOL} Algorithm 2, the batched version.",),
    )


def _scratch(settings: Settings) -> Explanation:
    steps = settings.evaluation.inner_steps
    return Explanation(
        title="Scratch: no meta-learning, a baseline",
        idea=(
            "The random initialisation, adapted to each held-out task by the same inner loop as the other algorithms. "
            "The improvement of an algorithm over Scratch is what it learned from the training tasks."
        ),
        rule=("θ'_i = θ − α ∇L_i(D_i; θ)",),
        symbols=(
            f"α: inner learning rate, {settings.algorithm.inner_lr:g}. D_i: support set of held-out task i. "
            f"L: {_loss(settings)}."
        ),
        code=(
            _initialisation(settings),
            "for each held-out task:",
            f"    D ← {_support(settings, settings.evaluation_shots)}",
            *_inner_steps(settings, steps, indent=4),
        ),
        costs=(
            "No meta-step: there is no outer loop.",
            f"An evaluation takes {_count(steps, 'gradient')} per task, as for every other algorithm.",
        ),
        gradients=0,
        hessian_products=0,
        paper=("The 'random initialisation' baseline of Finn, Abbeel and Levine 2017, section 5.",),
    )


def _pretrained(settings: Settings) -> Explanation:
    algorithm, images = settings.algorithm, settings.is_classification
    per_class = settings.training_shots + settings.task.queries
    size = algorithm.meta_batch * per_class * (settings.task.ways if images else 1)
    goal = "tell all training classes apart" if images else "predict the points of all training waves together"
    head = " It keeps its features; the head for the task's classes is new." if images else ""
    return Explanation(
        title="Pretrained: ordinary training on all tasks together, a baseline",
        idea=(
            f"One network learns to {goal}, without any adaptation during training. It is then adapted to each "
            f"held-out task by the same inner loop as the other algorithms.{head}"
        ),
        rule=("θ ← θ − β ∇L(B; θ)",),
        symbols=(
            f"β: outer learning rate, {_outer_lr(settings)} (Adam). B: examples of all training tasks together. "
            f"L: {_loss(settings)}."
        ),
        code=(
            *_outer_loop(settings),
            f"    B ← {_count(size, 'example')}: as many as {_count(algorithm.meta_batch, 'episode')} would hold",
            "    g ← ∇L(B; θ)",
            *_adam_step(settings),
        ),
        costs=(
            f"1 gradient of the loss of {_count(size, 'example')}.",
            "The model is also adapted to the tasks of the meta-batch, but only for the curves: this trains nothing.",
        ),
        gradients=1,
        hessian_products=0,
        paper=(
            "Sinusoids: Finn, Abbeel and Levine 2017, section 5.1.",
            "Images: Wei-Yu Chen and others: A Closer Look at Few-shot Classification. ICLR 2019. The baseline.",
        ),
    )


ALGORITHMS: Mapping[str, Callable[[Settings], Explanation]] = {
    "maml": _maml,
    "fomaml": _fomaml,
    "reptile": _reptile,
    "scratch": _scratch,
    "pretrained": _pretrained,
}


def _initialisation(settings: Settings) -> str:
    return f"θ ← random initialisation of the model, from seed {settings.training.seed}"


def _outer_loop(settings: Settings) -> tuple[str, ...]:
    return _initialisation(settings), f"repeat {_times(settings.training.iterations)}:"


def _inner_steps(settings: Settings, steps: int, *, indent: int, batch: int = 0) -> tuple[str, ...]:
    """Return the lines of the inner loop; each step takes the next `batch` examples of D, or all if it is 0."""
    algorithm = settings.algorithm
    data = "B" if batch else "D"
    if algorithm.inner_optimizer == "adam" and algorithm.name != "maml":
        update = f"θ' ← Adam(θ', ∇L({data}; θ')), step size {algorithm.inner_lr:g}, without momentum"
    else:
        update = f"θ' ← θ' − {algorithm.inner_lr:g} ∇L({data}; θ')"
    choose_batch = (f"    B ← the next {_count(batch, 'example')} of D, in cycles",) if batch else ()
    lines = ("θ' ← θ", f"repeat {_times(steps)}:", *choose_batch, f"    {update}")
    return tuple(" " * indent + line for line in lines)


def _adam_step(settings: Settings) -> tuple[str, ...]:
    clip = settings.algorithm.grad_clip
    clipping = (f"    g ← g, scaled down to a norm of {clip:g} if it is longer",) if clip else ()
    return *clipping, f"    θ ← Adam(θ, g), step size {_outer_lr(settings)}"


def _inner_gradients(settings: Settings) -> int:
    return settings.algorithm.meta_batch * settings.algorithm.inner_steps


def _inner_cost(settings: Settings, kind: str) -> str:
    tasks, steps = settings.algorithm.meta_batch, settings.algorithm.inner_steps
    inner_steps = f"{_count(tasks, 'task')} x {_count(steps, 'inner step')}"
    return f"{_count(tasks * steps, 'gradient')} of {kind} losses ({inner_steps})."


def _support(settings: Settings, shots: int) -> str:
    if settings.is_classification:
        return f"{_count(shots, 'support image')} of each of {settings.task.ways} classes"
    return _count(shots, "support point")


def _query(settings: Settings) -> str:
    if settings.is_classification:
        return f"{_count(settings.task.queries, 'query image')} of each class"
    return _count(settings.task.queries, "query point")


def _loss(settings: Settings) -> str:
    loss_of = DATA[settings.task.source].loss_of
    loss = "mean cross-entropy" if settings.is_classification else "mean squared error"
    return f"{loss} of {loss_of}" if loss_of else loss


def _outer_lr(settings: Settings) -> str:
    algorithm = settings.algorithm
    if algorithm.outer_schedule == "constant":
        return f"{algorithm.outer_lr:g}"
    return f"{algorithm.outer_lr:g}, {algorithm.outer_schedule} to {algorithm.outer_lr_final:g}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"
