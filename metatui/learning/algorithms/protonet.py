"""ProtoNet: prototypical networks.

Jake Snell, Kevin Swersky and Richard Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017, Algorithm 1,
with the squared Euclidean distance of section 2.3. Adaptation takes no gradient steps: as in section 2.4, the
classifier is a linear layer that is computed from the prototypes. At step 0, this layer is zero, so all classes have
the same probability. Step 1 computes the layer from the prototypes, and further steps change nothing.

The model's own last layer is not used, so it is not a meta-parameter. The setting `evaluation.batch_norm` selects the
statistics of batch norm on held-out tasks, by default `transductive`. The published results are not transductive: batch
norm used running statistics from training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from metatui.config.registry import Usual
from metatui.learning.algorithm import META_GRADIENT, Algorithm
from metatui.learning.explanations import (
    Explanation,
    adam_step,
    loss,
    outer_loop,
    outer_lr,
    query,
    support,
)
from metatui.utils.errors import BadInput, Problem, SettingsError, quote
from metatui.utils.text import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from metatui.config.settings import Settings
    from metatui.learning.data.episodes import TaskSource
    from metatui.learning.engines.task import Task
    from metatui.learning.optim.inner import Params


NO_CLASS = -1e9
"""Bias of outputs that belong to no class of the task, so that these outputs are never predicted. It is finite
because inner steps compute with it."""


class ProtoNet(Algorithm):
    """Classification by the distance of features to the mean features of each class."""

    name = "protonet"
    title = "ProtoNet"
    uses = META_GRADIENT | {"compute.cuda_graphs"}
    captured = True
    published_batch_norm = "per_example"  # the authors use running statistics from training
    usual: ClassVar[Usual] = {
        "classification": {
            "algorithm.outer_lr": 0.003, "algorithm.outer_schedule": "cosine", "algorithm.outer_lr_final": 0.0,
        },
    }  # fmt: skip

    def __init__(self, settings: Settings, model: nn.Module) -> None:
        super().__init__(settings, model)
        check_head(self)

    def meta_parameters(self, params: Params, source: TaskSource) -> Params:
        return {name: p for name, p in params.items() if name not in self.head}

    def adapt(self, task: Task, meta: Params, steps: int) -> Iterator[Params]:
        import torch

        head = prototype_head(self, task, meta)
        yield meta | {name: torch.zeros_like(p) for name, p in head.items()}
        for _ in range(steps):
            yield meta | head

    @property
    def changing(self) -> frozenset[str]:
        return frozenset(self.head)

    @classmethod
    def violations(cls, settings: Settings) -> Iterator[tuple[str, str]]:
        yield from classification_only(settings, cls.title)

    @classmethod
    def explain(cls, settings: Settings) -> Explanation:
        tasks = settings.algorithm.meta_batch
        return Explanation(
            title="ProtoNet: prototypical networks",
            idea=(
                "Learn features f in which the examples of a class lie around their mean, the prototype of the class. "
                "A query example belongs to the class with the nearest prototype. Adaptation is the computation of the "
                "prototypes, without any gradient. The logits −‖f(x) − c_n‖² differ from those of a linear layer with "
                "weights 2 c_n and biases −‖c_n‖² only by a term that is the same for all classes. The setting "
                "evaluation.batch_norm selects the statistics of batch norm on held-out tasks; the published results "
                "are not transductive: they were measured with the running statistics from training."
            ),
            rule=(
                "c_in = mean of f(x; θ) over the examples x of class n in D_i",
                "p_i(n | x) = softmax over n of −‖f(x; θ) − c_in‖²",
                "θ ← θ − β d/dθ mean_i L_i(D'_i; p_i)",
            ),
            symbols=(
                f"f: the model without its last layer. β: outer learning rate, {outer_lr(settings)} (Adam). "
                f"D_i, D'_i: support and query set of task i. L: {loss(settings)}."
            ),
            code=(
                *outer_loop(settings),
                f"    for each of {format_count(tasks, 'sampled task')}:",
                f"        D ← {support(settings)}; D' ← {query(settings)}",
                "        for each class n in D:",
                "            c_n ← mean of f(x; θ) over the examples x of class n in D",
                "            w_n ← 2 c_n; b_n ← −‖c_n‖²",
                "    g ← d/dθ of the mean over tasks of L(D'; w f(x; θ) + b)",
                *adam_step(settings),
            ),
            costs=(
                f"{format_count(tasks, 'gradient')} of query losses, one per task. Each is backpropagated through the "
                "features of the query set and, because of the prototypes, through those of the support set.",
                "No inner steps, no second derivatives.",
                "The graph of one forward pass is kept in memory for each support and query set.",
            ),
            gradients=tasks,
            paper=(
                "Jake Snell, Kevin Swersky and Richard Zemel: Prototypical Networks for Few-shot Learning. NeurIPS "
                "2017. Algorithm 1; section 2.4 for the linear layer.",
            ),
        )


def prototype_head(algorithm: Algorithm, task: Task, params: Params) -> Params:
    """Compute a linear last layer with the logits −‖f(x) − c_n‖² + ‖f(x)‖² for each class n (section 2.4).

    With task.ways_range, the model may have more outputs than the task has classes. The logits of the surplus outputs
    are so low that they are never predicted.

    Args:
        params: parameters of the layers before the last one.
    """
    import torch

    ways = algorithm.settings.most_ways
    centres = prototypes(task.features(params, task.support_x), task.support_y, ways)
    biases = -centres.square().sum(-1)
    if algorithm.settings.task.ways_range:
        present = (task.support_y.unsqueeze(-1) == torch.arange(ways, device=task.support_y.device)).any(-2)
        biases = torch.where(present, biases, NO_CLASS)
    weight, bias = algorithm.head
    return {weight: 2 * centres, bias: biases}


def prototypes(features: Tensor, labels: Tensor, ways: int) -> Tensor:
    """Return the mean features [..., ways, D] of each class (equation 1).

    Args:
        features: [..., B, D].
        labels: int64 [..., B].
    """
    import torch

    is_member = (labels.unsqueeze(-1) == torch.arange(ways, device=labels.device)).to(features)
    return is_member.mT @ features / is_member.sum(-2).clamp(min=1).unsqueeze(-1)


def check_head(algorithm: Algorithm) -> None:
    """Raise BadInput if prototypes cannot replace the model's last layer, or if no other layer is trainable."""
    if [name.rpartition(".")[2] for name in algorithm.head] != ["weight", "bias"]:
        raise BadInput(f"{algorithm.title} needs a model whose last layer is linear with a bias: use another model")
    if not set(algorithm.parameters) - set(algorithm.head):
        sentence = (
            f"algorithm.freeze is {quote(algorithm.settings.algorithm.freeze)}, but must leave a parameter before the "
            f"last layer trainable, because {algorithm.title} does not use the model's own last layer"
        )
        raise SettingsError([Problem("algorithm.freeze", sentence)])


def classification_only(settings: Settings, title: str) -> Iterator[tuple[str, str]]:
    """Yield a violation if the tasks are regression tasks."""
    if not settings.is_classification:
        source = settings.task.source
        yield "algorithm.name", f"another algorithm if task.source = '{source}': {title} is for classification only"
