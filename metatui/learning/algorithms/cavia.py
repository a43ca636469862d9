"""CAVIA: fast context adaptation via meta-learning.

Luisa Zintgraf, Kyriacos Shiarlis, Vitaly Kurin, Katja Hofmann and Shimon Whiteson, "Fast Context Adaptation via
Meta-Learning", ICML 2019, section 3. The inner loop changes only context parameters φ, which start at zero for every
task, and the outer loop learns the network θ. The context acts through FiLM, which scales and shifts each channel of
the output of the third stage of a convolutional network, as in the authors' code, or of the first layer of an MLP. The
authors append φ to the input of an MLP, which only shifts the outputs of its first layer; FiLM also scales them. Their
FiLM layer is initialised at random; the FiLM layer used here starts as the identity.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from metatui.config.declarations import Group, setting
from metatui.config.registry import Usual
from metatui.learning.algorithm import INNER_STEPS, META_GRADIENT, GradientBased
from metatui.learning.explanations import Explanation, gradient_based, inner_gradients
from metatui.utils.errors import BadInput
from metatui.utils.text import format_count

if TYPE_CHECKING:
    from torch import nn

    from metatui.config.settings import Settings
    from metatui.learning.engines.task import Task
    from metatui.learning.optim.inner import Params

CONTEXT = "film.context"
STAGE = 3
"""Number of the stage of a convolutional network whose output the context modulates, counted from 1."""


class CAVIA(GradientBased):
    """Adaptation of a context vector that modulates the network."""

    name = "cavia"
    title = "CAVIA"

    class Options(Group):
        """Options of CAVIA."""

        context: int = setting(
            100, "Context parameters", "Size of the context vector that the inner loop adapts.", ge=1, le=10_000
        )

    options: Options
    uses = META_GRADIENT | INNER_STEPS | {"algorithm.inner_steps", "compute.cuda_graphs"}
    captured = True
    usual: ClassVar[Usual] = {
        "regression": {
            "algorithm.inner_lr": 1.0, "algorithm.inner_steps": 5, "algorithm.inner_optimizer": "sgd",
            "algorithm.inner_clip": 0.0, "algorithm.outer_lr": 0.001, "algorithm.outer_schedule": "constant",
            "evaluation.inner_steps": 10, "cavia.context": 10,
        },
        "classification": {
            "algorithm.inner_lr": 10.0, "algorithm.inner_steps": 5, "algorithm.inner_optimizer": "sgd",
            "algorithm.inner_clip": 0.0, "algorithm.outer_lr": 0.003, "algorithm.outer_schedule": "cosine",
            "algorithm.outer_lr_final": 0.0, "evaluation.inner_steps": 10, "cavia.context": 100,
        },
    }  # fmt: skip

    @classmethod
    def prepare_model(cls, model: nn.Module, settings: Settings) -> nn.Module:
        from collections import OrderedDict

        from torch import nn
        from torch.nn.modules.batchnorm import _BatchNorm

        from metatui.learning.data.random import seeded
        from metatui.learning.nn.layers import FiLM

        children = list(model.named_children())
        hidden = [layer for _, layer in children[:-1]]
        convolutions = [[m for m in layer.modules() if isinstance(m, nn.Conv2d)] for layer in hidden]
        stages = [at for at, found in enumerate(convolutions) if found][:STAGE]
        linear = [at for at, layer in enumerate(hidden) if isinstance(layer, nn.Linear)][:1]
        if type(model) is not nn.Sequential or not (stages or linear):
            raise BadInput(
                f"algorithm.name is '{cls.name}', but this model is neither an MLP nor a convolutional nn.Sequential, "
                "so there is no layer to modulate: use another model or algorithm"
            )
        at = (stages or linear)[-1]
        layer = children[at][1]
        channels = layer.out_features if isinstance(layer, nn.Linear) else convolutions[at][-1].out_channels
        if isinstance(children[at + 1][1], _BatchNorm | nn.GroupNorm | nn.LayerNorm):
            at += 1  # a norm after the modulation would undo it
        with seeded(settings.training.seed):
            film = FiLM(cls.context_size(settings), channels)
        return nn.Sequential(OrderedDict([*children[: at + 1], ("film", film), *children[at + 1 :]]))

    @classmethod
    def context_size(cls, settings: Settings) -> int:
        return settings.options_of(cls.name, cls.Options).context

    @cached_property
    def adapted(self) -> tuple[str, ...]:
        return (CONTEXT,)

    def start(self, task: Task, meta: Params) -> Params:
        # Section 3.1: φ_0 = 0 for every task.
        weight = meta["film.weight"]
        return super().start(task, meta) | {CONTEXT: weight.new_zeros(*weight.shape[:-2], weight.shape[-1])}

    @classmethod
    def explain(cls, settings: Settings) -> Explanation:
        size = cls.context_size(settings)
        return gradient_based(
            settings,
            title="CAVIA: fast context adaptation via meta-learning",
            idea=(
                "Split the parameters into two parts: a small context vector φ that describes the task, and a network "
                "θ that all tasks share. The inner loop changes only φ, which starts at zero and scales and shifts the "
                "channels of one layer. The outer loop learns θ, including how φ acts on that layer. So only a "
                "few numbers are adapted to each task, which leaves little room for overfitting."
            ),
            inner_rule="φ_i = 0 − α ∇_φ L_i(D_i; φ, θ)",
            outer_rule="θ ← θ − β d/dθ mean_i L_i(D'_i; φ_i, θ)",
            symbols=f"φ: context of {format_count(size, 'number')}.",
            start="φ ← 0",
            adapted="φ",
            inner_loss="L(D; φ, θ)",
            outer_gradient="g ← d/dθ of the mean over tasks of L(D'; φ, θ), through the inner steps",
            costs=(
                f"{format_count(inner_gradients(settings), 'Hessian-vector product')} for the context, one for each "
                "inner step of each task.",
                "Layers before the one that uses the context are computed once for each support and query set.",
            ),
            hessian_products=inner_gradients(settings),
            paper=(
                "Luisa Zintgraf, Kyriacos Shiarlis, Vitaly Kurin, Katja Hofmann and Shimon Whiteson: Fast Context "
                "Adaptation via Meta-Learning. ICML 2019. Section 3.",
            ),
        )
