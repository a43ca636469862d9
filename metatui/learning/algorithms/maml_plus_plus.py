"""MAML++: MAML with changes that make its training more stable, each of which can be switched off.

Antreas Antoniou, Harrison Edwards and Amos Storkey, "How to train your MAML", ICLR 2019, section 4. Details that the
paper omits follow the authors' code (github.com/AntreasAntoniou/HowToTrainYourMAMLPytorch).

- Multi-step loss (MSL): the meta-loss is a weighted sum of the query losses after all inner steps, and the weights are
  annealed towards the last step. After 10 of 100 epochs in the authors' configurations for Omniglot, only the last loss
  counts.
- Derivative-order annealing (DA): meta-gradients are of first order in the first 50 epochs of the paper, and of second
  order later. The authors' released configurations use second order throughout.
- Learned rates (LSLR): one inner learning rate for each inner step and parameter tensor. In the paper, the weight and
  the bias of a layer share a rate; in the authors' code, each has its own.
- Per-step batch norm (BNWB): the scale and the shift of batch norm are learned separately for each inner step, and
  inner steps do not adapt them. The paper also collects running statistics for each step (BNRS). They are omitted here,
  because the authors' code never reads them: its batch norm always uses the statistics of the batch.
- Cosine annealing of the outer learning rate (CA) is `algorithm.outer_schedule = "cosine"`.

There are as many rates and norms as inner steps in training. Additional steps on held-out tasks use the rates and norms
of the last training step. On regression tasks, the learned rates may grow until inner steps diverge, which
`algorithm.inner_clip` prevents.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from metatui.config.declarations import Group, When, setting
from metatui.config.fields import FIELDS
from metatui.config.registry import MODELS, Names, Usual
from metatui.learning.algorithm import RATE, RATE_IS_LEARNED
from metatui.learning.algorithms.maml import MAML
from metatui.learning.explanations import Explanation, Rates, gradient_based, inner_gradients
from metatui.utils.text import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import nn

    from metatui.config.settings import Settings
    from metatui.learning.data.episodes import TaskSource
    from metatui.learning.engines.task import Task
    from metatui.learning.optim.inner import Params

NORM = "norm/"
"""Prefix of the names of meta-parameters [steps - 1, channels]. Each contains the values of one batch-norm parameter
for inner step 1 and all later steps. Step 0 uses the model's own parameter."""

HAS_BATCH_NORM: When = {
    "model.name": Names(MODELS, lambda model: model.batch_norm), "model.norm": frozenset({"batch"}),
}  # fmt: skip

MIN_WEIGHT = 0.03
"""Minimum of the annealed weight of every query loss except the last, as a multiple of the initial weight. The value is
taken from the authors' code."""


class MAMLPlusPlus(MAML):
    """MAML with learned inner learning rates, a separate batch norm for each inner step, and a multi-step loss."""

    name = "maml_plus_plus"
    title = "MAML++"
    uses = MAML.uses - {"compute.second_order"}
    compiles = False

    # fmt: off
    class Options(Group):
        """Settings that switch each change to MAML on or off."""

        multi_step: float = setting(
            0.1, "Multi-step loss",
            "Initial fraction of training in which the loss is a weighted sum of the query losses after all inner "
            "steps. The weights shift towards the last step. 0 uses only the loss after the last step.", ge=0, le=1)
        first_order: float = setting(
            0.3, "First-order start",
            "Initial fraction of training that uses first-order meta-gradients. The rest uses second-order "
            "meta-gradients.", ge=0, le=1)
        learned_rates: bool = setting(
            True, "Learned rates",
            "Learn an inner learning rate for each inner step and parameter tensor, starting at algorithm.inner_lr.")
        per_step_norm: bool = setting(
            True, "Per-step batch norm",
            "Learn the scale and the shift of batch norm for each inner step, and do not adapt them in the inner loop.",
            when=HAS_BATCH_NORM)
    # fmt: on

    options: Options
    usual: ClassVar[Usual] = {
        "regression": MAML.usual["regression"] | {
            "algorithm.inner_steps": 5, "algorithm.inner_clip": 10.0, "algorithm.outer_schedule": "cosine",
            "algorithm.outer_lr_final": 1e-5,
        },
        "classification": MAML.usual["classification"] | {
            "algorithm.inner_lr": 0.1, "algorithm.inner_steps": 5, "algorithm.outer_lr": 0.001,
            "algorithm.outer_lr_final": 1e-5, "evaluation.inner_steps": 5,
        },
    }  # fmt: skip

    def __init__(self, settings: Settings, model: nn.Module) -> None:
        from torch.nn.modules.batchnorm import _BatchNorm

        super().__init__(settings, model)
        norms = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
        own = {f"{name}.{kind}" for name in norms for kind in ("weight", "bias")} if self.options.per_step_norm else ()
        self.norms = tuple(name for name in self.parameters if name in own)
        """Names of the batch-norm parameters that have a separate value for each inner step."""

    @classmethod
    def fixed(cls, settings: Settings) -> Mapping[str, str]:
        fixed = dict(RATE_IS_LEARNED) if settings.value("maml_plus_plus.learned_rates") else {}
        if fixed or cls.has_step_norms(settings):
            fixed["algorithm.inner_steps"] = "every inner step has its own learned rates or batch norm"
        return fixed

    @classmethod
    def has_step_norms(cls, settings: Settings) -> bool:
        """Return whether batch norm has a scale and a shift for each inner step."""
        path = "maml_plus_plus.per_step_norm"
        return bool(settings.value(path)) and FIELDS[path].is_relevant(settings)

    def meta_parameters(self, params: Params, source: TaskSource) -> Params:
        steps, meta = self.inner_steps, dict(params)
        if self.options.learned_rates:
            rate = self.settings.algorithm.inner_lr
            meta |= {RATE + name: params[name].new_full((steps,), rate) for name in self.adapted}
        if steps > 1:
            meta |= {NORM + name: params[name].expand(steps - 1, -1).clone() for name in self.norms}
        return meta

    def adapt(self, task: Task, meta: Params, steps: int) -> Iterator[Params]:
        update = self.inner.start(stacked=task.is_stack, constant=not self.second_order)
        params = self.start(task, meta)
        yield params
        for step in range(steps):
            learned = min(step, self.inner_steps - 1)
            # The norms of this step apply to the support set before the step and to the query set after it.
            params = params | self.norms_at(learned, meta)
            gradient = task.gradient(params, self.adapted)
            adapted = {name: params[name] for name in self.adapted}
            params = params | update(adapted, gradient, self.rates_at(learned, meta, adapted))
            yield params

    def norms_at(self, step: int, meta: Params) -> Params:
        """Return the scales and shifts of all batch norms at an inner step."""
        return {name: meta[NORM + name][..., step - 1, :] if step else meta[name] for name in self.norms}

    def rates_at(self, step: int, meta: Params, params: Params) -> Params | None:
        """Return a learning rate for each of `params` at an inner step, or None if rates are not learned."""
        if not self.options.learned_rates:
            return None
        rates = {name: meta[RATE + name][..., step] for name in params}  # scalars, or [T] for a stack
        return {name: rate.view(*rate.shape, *[1] * (params[name].dim() - rate.dim())) for name, rate in rates.items()}

    @cached_property
    def adapted(self) -> tuple[str, ...]:
        return tuple(name for name in super().adapted if name not in self.norms)

    @property
    def changing(self) -> frozenset[str]:
        return frozenset((*self.adapted, *self.norms))

    @property
    def annealed(self) -> bool:
        return self.options.multi_step > 0 or self.options.first_order > 0

    @property
    def stage(self) -> str:
        order = "second-order" if self.second_order else "first-order"
        losses = "the query loss after the last inner step"
        if self.query_weights is not None:
            losses = "the query losses after all inner steps"
        return f"From here on, meta-steps use {order} meta-gradients of {losses}"

    @property
    def second_order(self) -> bool:
        return self.progress >= self.options.first_order

    @property
    def query_weights(self) -> Sequence[float] | None:
        if self.progress >= self.options.multi_step:
            return None
        # At first, all steps have the same weight. Then all weights but the last decrease linearly to their minimum,
        # and the last weight is the remainder.
        steps = self.inner_steps
        weight = max(1 - self.progress / self.options.multi_step, MIN_WEIGHT) / steps
        return [0.0, *[weight] * (steps - 1), 1 - weight * (steps - 1)]

    @classmethod
    def explain(cls, settings: Settings) -> Explanation:
        options = settings.options_of(cls.name, cls.Options)
        iterations, rate = settings.training.iterations, settings.algorithm.inner_lr
        changes, costs = [], []
        symbols = constants = ""
        products = format_count(inner_gradients(settings), "Hessian-vector product")
        if options.multi_step:
            annealed = format_count(math.ceil(options.multi_step * iterations), "meta-step")
            changes.append(
                f"in the first {annealed}, the loss is a weighted sum of the query losses after each inner step, with "
                "weights w_k that shift towards the last step; later, it is the query loss after the last step alone"
            )
            symbols = (
                f"w_k: weight of the query loss after step k; after {annealed}, it is 0 for all steps but the last."
            )
            costs.append(
                f"In the first {annealed}, a query loss is computed after every inner step, not only after the last."
            )
        if options.first_order:
            first = format_count(math.ceil(options.first_order * iterations), "meta-step")
            changes.append(f"the first {first} use first-order meta-gradients")
            constants = f"; in the first {first}, inner gradients are constants"
            costs.append(f"No second derivatives in the first {first}; then {products}, one for each inner step.")
        else:
            costs.append(f"{products}, one for each inner step of each task.")
        if options.learned_rates:
            changes.append("each inner step k has its own learned rate α_k for each parameter tensor")
        if cls.has_step_norms(settings):
            changes.append("the scale and the shift of batch norm are learned for each inner step and not adapted")
        costs.append("Memory grows with the number of inner steps, because the graph of every inner step is kept.")
        learned = "(θ, α)" if options.learned_rates else "θ"
        losses = ("Σ_k w_k L_i(D'_i; θ'_i,k)", "Σ_k w_k L(D'; θ'_k)")
        loss_of_task, loss = losses if options.multi_step else ("L_i(D'_i; θ'_i)", "L(D'; θ')")
        return gradient_based(
            settings,
            title="MAML++: how to train your MAML",
            idea=(
                f"MAML with changes that make its training more stable: {'; '.join(changes)}."
                if changes
                else "The same as MAML, because all changes of MAML++ are switched off."
            ),
            inner_rule=f"θ'_i,k+1 = θ'_i,k − {'α_k' if options.learned_rates else 'α'} ∇L_i(D_i; θ'_i,k)",
            outer_rule=f"{learned} ← {learned} − β d/d{learned} mean_i {loss_of_task}",
            outer_gradient=f"g ← d/d{learned} of the mean over tasks of {loss}, through the inner steps{constants}",
            symbols=symbols,
            learned=learned,
            rates=Rates(
                f"inner learning rates for each step k and parameter tensor, {rate:g} at the start",
                f"α_k ← {rate:g} for each of {format_count(settings.algorithm.inner_steps, 'inner step')} k",
                "α_k",
            )
            if options.learned_rates
            else None,
            costs=tuple(costs),
            hessian_products=inner_gradients(settings),
            paper=(
                "Antreas Antoniou, Harrison Edwards and Amos Storkey: How to train your MAML. ICLR 2019. Section 4.",
            ),
        )
