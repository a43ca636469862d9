"""ProtoMAML: MAML with a head that starts from prototypes.

Eleni Triantafillou et al., "Meta-Dataset: A Dataset of Datasets for Learning to Learn from Few Examples", ICLR 2020,
section 3: the last layer of each task starts as the linear layer of ProtoNet, w_k = 2 c_k and b_k = -||c_k||², and is
then adapted with the other layers by MAML. The meta-gradient goes through the prototypes as well. The authors' results
are those of the first-order variant, in which only the inner gradients are constants.

The model's own last layer is not used, so it is not a meta-parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from metatui.config.declarations import Group, setting
from metatui.config.registry import Usual
from metatui.learning.algorithms.maml import MAML
from metatui.learning.algorithms.protonet import check_head, classification_only, prototype_head
from metatui.learning.explanations import Explanation, gradient_based, inner_gradients
from metatui.utils.text import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from metatui.config.settings import Settings
    from metatui.learning.data.episodes import TaskSource
    from metatui.learning.engines.task import Task
    from metatui.learning.optim.inner import Params


class ProtoMAML(MAML):
    """MAML in which each task's last layer starts as the linear layer of ProtoNet."""

    class Options(Group):
        """Options of ProtoMAML."""

        first_order: bool = setting(
            False,
            "First order",
            "Treat inner gradients as constants, as in the paper. The prototypes are still differentiated.",
        )

    name = "proto_maml"
    title = "ProtoMAML"
    uses = MAML.uses - {"compute.second_order"}
    compiles = False
    published_batch_norm = None
    usual: ClassVar[Usual] = {"classification": MAML.usual["classification"] | {"algorithm.inner_lr": 0.01}}

    def __init__(self, settings: Settings, model: nn.Module) -> None:
        super().__init__(settings, model)
        check_head(self)

    def meta_parameters(self, params: Params, source: TaskSource) -> Params:
        return {name: p for name, p in params.items() if name not in self.head}

    def start(self, task: Task, meta: Params) -> Params:
        # Inner gradients are partial derivatives at (θ, w), but w is itself a function of θ. Gradients with respect to
        # views of θ exclude this dependence.
        body = {name: p.view_as(p) for name, p in meta.items()}
        return body | prototype_head(self, task, meta)

    @property
    def second_order(self) -> bool:
        return not self.settings.value("proto_maml.first_order")

    @classmethod
    def violations(cls, settings: Settings) -> Iterator[tuple[str, str]]:
        yield from super().violations(settings)
        yield from classification_only(settings, cls.title)

    @classmethod
    def explain(cls, settings: Settings) -> Explanation:
        first_order = settings.value("proto_maml.first_order")
        products = 0 if first_order else inner_gradients(settings)
        return gradient_based(
            settings,
            title="ProtoMAML: MAML with a head that starts from prototypes",
            idea=(
                "MAML in which the last layer of each task starts as that of ProtoNet, computed from the mean features "
                "of each class. So the prediction before any inner step is ProtoNet's, the order of the classes has "
                "no influence, and the inner steps improve the prediction by changing all layers. Only the layers "
                "before the last one are learned in the outer loop."
            ),
            inner_rule="(θ'_i, w'_i) = (θ, w_i) − α ∇L_i(D_i; θ, w_i), with w_i = (2 c_in, −‖c_in‖²) for each class n",
            outer_rule="θ ← θ − β d/dθ mean_i L_i(D'_i; θ'_i, w'_i)",
            symbols=(
                "θ: parameters of the layers before the last one. w_i: weights and biases of the last layer. c_in: "
                "mean features of class n in D_i."
            ),
            before=("w ← (2 c_n, −‖c_n‖²) for each class n, with c_n the mean features of class n in D",),
            start="(θ', w') ← (θ, w)",
            adapted="(θ', w')",
            inner_loss="L(D; θ', w')",
            outer_gradient=(
                "g ← d/dθ of the mean over tasks of L(D'; θ', w'), through the prototypes"
                + ("" if first_order else " and the inner steps")
            ),
            costs=(
                "No second derivatives."
                if first_order
                else f"{format_count(products, 'Hessian-vector product')}, one for each inner step of each task.",
                "One more pass of each support set through the network, for the prototypes.",
                "The graph of that pass is kept in memory"
                + ("." if first_order else ", as is the graph of all inner steps, which grows with their number."),
            ),
            hessian_products=products,
            paper=(
                "Eleni Triantafillou and others: Meta-Dataset: A Dataset of Datasets for Learning to Learn from Few "
                "Examples. ICLR 2020. Section 3.",
            ),
        )
