"""iMAML: MAML with implicit gradients.

Aravind Rajeswaran, Chelsea Finn, Sham Kakade and Sergey Levine, "Meta-Learning with Implicit Gradients", NeurIPS 2019,
Algorithms 1 and 2. The adapted parameters φ are close to the minimum of the support loss plus a proximal term (equation
3), so their derivative with respect to θ follows from the optimality condition (Lemma 1), not from the inner steps.

The proximal term is part of the gradient of every inner step, as in the paper. The authors' code applies it once, after
the last step. The implicit gradient is exact at the minimum and an approximation after few inner steps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from metatui.config.declarations import Group, setting
from metatui.config.registry import Usual
from metatui.learning.algorithm import META_GRADIENT, GradientBased
from metatui.learning.explanations import (
    Explanation,
    adam_step,
    inner_cost,
    inner_gradients,
    loss,
    outer_loop,
    outer_lr,
    query,
    support,
    times,
)
from metatui.utils.text import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from metatui.config.settings import Settings
    from metatui.learning.engines.second_order import GradientResult
    from metatui.learning.engines.task import Task
    from metatui.learning.optim.inner import Params


class IMAML(GradientBased):
    """Minimisation of the query loss at the minimum of a regularised support loss."""

    name = "imaml"
    title = "iMAML"

    class Options(Group):
        """Options of iMAML."""

        regularization: float = setting(
            2.0, "Regularisation (λ)", "Strength λ of the proximal term, which keeps adapted parameters close to θ.",
            gt=0, le=1e6)  # fmt: skip
        cg_steps: int = setting(
            5, "CG steps", "Number of steps of the conjugate gradient method for the implicit gradient.",
            unit="steps", ge=1, le=1000)  # fmt: skip

    options: Options
    second_order = False  # inner gradients are constants: second derivatives enter only through the Hessian at φ
    uses = META_GRADIENT | {
        "algorithm.inner_lr", "algorithm.inner_steps", "algorithm.adapt", "evaluation.inner_steps",
    }  # fmt: skip
    usual: ClassVar[Usual] = {
        "regression": {  # 16 steps almost reach the minimum, because α λ is 0.1
            "algorithm.inner_lr": 0.005, "algorithm.inner_steps": 16, "algorithm.outer_lr": 0.001,
            "algorithm.outer_schedule": "cosine", "algorithm.outer_lr_final": 0.0, "evaluation.inner_steps": 16,
            "imaml.regularization": 20.0,
        },
        "classification": {
            "algorithm.inner_lr": 0.1, "algorithm.inner_steps": 8, "algorithm.outer_lr": 0.001,
            "algorithm.outer_schedule": "cosine", "algorithm.outer_lr_final": 0.0, "evaluation.inner_steps": 10,
            "imaml.regularization": 0.5,
        },
    }  # fmt: skip

    def adapt(self, task: Task, meta: Params, steps: int) -> Iterator[Params]:
        # Algorithm 2, line 2: φ ≈ argmin L_S(φ) + λ/2 ||φ - θ||² (equation 3), by gradient descent from θ.
        theta = {name: meta[name].detach() for name in self.parameters}
        start = {name: theta[name] for name in self.adapted}
        params = theta
        yield params
        for _ in range(steps):
            gradient = task.gradient(params, self.adapted)
            pull = {name: self.options.regularization * (params[name] - start[name]) for name in self.adapted}
            params = params | {
                name: params[name] - self.settings.algorithm.inner_lr * (gradient[name] + pull[name])
                for name in self.adapted
            }
            yield params

    def meta_gradient(self, task: Task, meta: Params) -> GradientResult:
        *_, phi = self.adapt(task, meta, self.inner_steps)
        # Line 3: v = ∇L_Q(φ). For parameters that are not adapted, this is already the meta-gradient.
        result = task.query_gradient(self, phi)
        v = {name: result.gradients[name] for name in self.adapted}
        # Line 4: solve (I + H/λ) g = v with the Hessian H of the support loss at φ (equation 6).
        g = self.conjugate_gradients(task, phi, v)
        # The optimality condition also depends on the parameters that are not adapted. This dependence is ignored, as
        # in FOMAML.
        return replace(result, gradients=result.gradients | g)

    def conjugate_gradients(self, task: Task, phi: Params, v: Params) -> Params:
        """Solve (I + H/λ) g = v for g, starting at g = v. H is the Hessian of the support loss at `phi`.

        This is the method of Hestenes and Stiefel (1952). Once the residual of a task is zero, its g no longer changes.
        """

        def product(p: Params) -> Params:
            curved = task.hessian_vector_product(phi, p)
            return {name: p[name] + curved[name] / self.options.regularization for name in p}

        g = v
        r = subtract_params(v, product(g))
        p, squared = r, task.dot(r, r)
        for _ in range(self.options.cg_steps):
            q = product(p)
            step = safe_divide(squared, task.dot(p, q))
            g = add_params(g, task.scaled(step, p))
            r = subtract_params(r, task.scaled(step, q))
            before, squared = squared, task.dot(r, r)
            p = add_params(r, task.scaled(safe_divide(squared, before), p))
        return g

    @classmethod
    def explain(cls, settings: Settings) -> Explanation:
        algorithm, options = settings.algorithm, settings.options_of(cls.name, cls.Options)
        tasks, products = algorithm.meta_batch, algorithm.meta_batch * (options.cg_steps + 1)
        strength = f"{options.regularization:g}"
        return Explanation(
            title="iMAML: MAML with implicit gradients",
            idea=(
                "Adapt to each task by minimising the support loss plus a penalty for the distance from θ. At this "
                "minimum, the derivative of the adapted parameters with respect to θ depends only on the curvature "
                "there, and not on how the minimum was reached. So the meta-gradient does not need the graph of the "
                "inner steps."
            ),
            rule=(
                "φ_i = argmin_φ L_i(D_i; φ) + λ/2 |φ − θ|²",
                "θ ← θ − β mean_i (I + H_i/λ)⁻¹ ∇L_i(D'_i; φ_i)",
            ),
            symbols=(
                f"λ: regularisation, {strength}. H_i: Hessian of L_i(D_i; φ_i). α: inner learning rate, "
                f"{algorithm.inner_lr:g}. β: outer learning rate, {outer_lr(settings)} (Adam). D_i, D'_i: support and "
                f"query set of task i. L: {loss(settings)}."
            ),
            code=(
                *outer_loop(settings),
                f"    for each of {format_count(tasks, 'sampled task')}:",
                f"        D ← {support(settings)}; D' ← {query(settings)}",
                "        φ ← θ",
                f"        repeat {times(algorithm.inner_steps)}:",
                f"            φ ← φ − {algorithm.inner_lr:g} (∇L(D; φ) + {strength} (φ − θ))",
                "        v ← ∇L(D'; φ)",
                f"        g_i ← solution of (I + H/{strength}) g_i = v, by {format_count(options.cg_steps, 'CG step')}",
                "    g ← mean over tasks of g_i",
                *adam_step(settings),
            ),
            costs=(
                inner_cost(settings, "support"),
                f"{format_count(tasks, 'gradient')} of query losses, one per task.",
                f"{format_count(products, 'Hessian-vector product')} at φ, for the conjugate gradients "
                f"({format_count(tasks, 'task')} x ({format_count(options.cg_steps, 'CG step')} + 1 for the first "
                "residual)).",
                "Memory does not grow with the number of inner steps.",
            ),
            gradients=inner_gradients(settings) + tasks,
            hessian_products=products,
            paper=(
                "Aravind Rajeswaran, Chelsea Finn, Sham Kakade and Sergey Levine: Meta-Learning with Implicit "
                "Gradients. NeurIPS 2019. Algorithms 1 and 2.",
            ),
        )


def add_params(a: Params, b: Params) -> Params:
    return {name: a[name] + b[name] for name in a}


def subtract_params(a: Params, b: Params) -> Params:
    return {name: a[name] - b[name] for name in a}


def safe_divide(a: Tensor, b: Tensor) -> Tensor:
    """Divide `a` by `b`. Where `b` is 0, `a` must be 0 as well, and the quotient is 0."""
    is_zero = (b == 0).to(b.dtype)
    return a * (1 - is_zero) / (b + is_zero)
