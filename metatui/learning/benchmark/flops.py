"""What a meta-step costs at the least: the FLOPs it consists of, and the bytes that it has to move.

FLOPs are those of matrix products and convolutions, forward and backward and, for MAML, backward through the backward,
as `torch.utils.flop_counter` sees them while the plain engine computes one task; a multiplication and an addition are
two. What is done element by element is not counted. An engine that gets by with fewer (a Winograd convolution, say) can
come closer to the floor than its arithmetic is to the machine's.

Bytes are traffic that no engine can do without unless it keeps intermediate results in registers or caches from one
layer to the next: in each pass, the parameters of each task and the output of each layer once, where a pass is a
forward or a backward one. An inner step is two passes; in MAML the meta-gradient goes backward through both of them,
so it is four. The query set takes two; in Reptile, which is only judged by it, some of it takes one. Then the episodes
are read once, and the meta-parameters read and written once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from metatui.config.fields import change
from metatui.learning.algorithms import ALGORITHMS
from metatui.learning.algorithms.base import METRIC_QUERIES_PER_CLASS
from metatui.learning.benchmark.fixed_tasks import FixedTaskExperiment, set_up_given
from metatui.learning.benchmark.workloads import Workload
from metatui.learning.engines.loop import LoopEngine
from metatui.learning.optim.inner import Params


class PlainEngine(LoopEngine):
    """Computes nothing twice."""

    def forward_once(self, params: Params, x: Tensor) -> Tensor:
        return self.forward_twice(params, x)


@dataclass(frozen=True)
class Counts:
    """Of one meta-step."""

    flops: int
    bytes: int


def count(work: Workload) -> Counts:
    """The FLOPs and bytes of `work`, counted on the CPU in float32."""
    settings = work.settings("loop", "cpu")
    tasks = settings.algorithm.meta_batch
    # One thread, because the counter sees only its own; one task, because tasks cost the same.
    experiment = set_up_given(change(settings, {"algorithm.meta_batch": 1, "compute.threads": 1}))
    experiment.engine = PlainEngine(experiment.model, experiment.loss, second_order="unrolled")
    algorithm = ALGORITHMS[work.algorithm](experiment)
    with FlopCounterMode(display=False) as counter:
        algorithm.meta_step(range(1), experiment.settings.algorithm, experiment.settings.algorithm.outer_lr)
    return Counts(tasks * counter.get_total_flops(), _bytes(experiment, tasks))


def _bytes(experiment: FixedTaskExperiment, tasks: int) -> int:
    algorithm, episode = experiment.settings.algorithm, experiment.given
    reptile = algorithm.name == "reptile"
    if reptile and experiment.settings.is_classification:
        episode = episode.with_queries(METRIC_QUERIES_PER_CLASS, experiment.settings.task.ways)
    parameters = sum(p.nbytes for p in experiment.theta().values())
    support, query = (parameters + _of_layers(experiment.model, x[0]) for x in (episode.support_x, episode.query_x))
    inner = 4 if algorithm.name == "maml" else 2
    outer = 1 if reptile else 2
    data = sum(t.nbytes for t in (episode.support_x, episode.support_y, episode.query_x, episode.query_y))
    return tasks * (algorithm.inner_steps * inner * support + outer * query + data) + 2 * parameters


def _of_layers(model: nn.Module, x: Tensor) -> int:
    """Bytes of the outputs of all layers for x [B, ...]; one that is a view of its input is none of its own."""
    found = 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal found
        if output.untyped_storage().data_ptr() != inputs[0].untyped_storage().data_ptr():
            found += output.nbytes

    hooks = [layer.register_forward_hook(add) for layer in model.modules() if not list(layer.children())]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return found
