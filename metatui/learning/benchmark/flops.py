"""The minimal cost of a meta-step: its FLOPs, and the bytes of its memory traffic.

FLOPs are those of matrix products and convolutions as `torch.utils.flop_counter` counts them while the loop engine
computes one task: forward, backward and, for MAML, double backward. A multiplication and an addition are two FLOPs.
Elementwise operations are not counted. An engine with a faster algorithm, such as Winograd's, performs fewer operations
than are counted here, so its time can be close to the minimum even if its actual rate of operations is well below the
peak rate.

Bytes are the memory traffic that is unavoidable unless intermediate results stay in registers or caches between layers.
Each forward or backward pass moves the parameters of each task and the output of each layer once. An inner step takes
two passes, or four in MAML, where the meta-gradient passes backward through both. The query set takes two passes.
Reptile uses the query set (for classification, a part of it) only for the metrics, which takes one pass. The episodes
are read once, and the meta-parameters are read and written once.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from metatui.config.fields import change
from metatui.learning.benchmark.measurement import FixedTaskExperiment, set_up_fixed
from metatui.learning.benchmark.workloads import Workload
from metatui.learning.engines.loop import LoopEngine
from metatui.learning.nn.output_sizes import output_sizes
from metatui.learning.optim.inner import Params
from metatui.learning.training.learner import METRIC_QUERIES_PER_CLASS, Learner


class PlainEngine(LoopEngine):
    """A loop engine without fused layers.

    Some fused layers compute a convolution twice, but the minimal cost includes it only once.
    """

    def forward_once(self, params: Params, x: Tensor) -> Tensor:
        return self.forward_twice(params, x)


@dataclass(frozen=True)
class Counts:
    """FLOPs and bytes of one meta-step."""

    flops: int
    bytes: int


def count(workload: Workload) -> Counts:
    """Count the FLOPs and bytes of a meta-step of `workload` on the CPU in float32."""
    settings = workload.settings("loop", "cpu")
    tasks = settings.algorithm.meta_batch
    # One thread, because the counter covers only its own thread; one task, because all tasks cost the same.
    experiment = set_up_fixed(change(settings, {"algorithm.meta_batch": 1, "compute.threads": 1}))
    experiment.engine = PlainEngine(experiment.model, experiment.loss, second_order="unrolled")
    learner = Learner(experiment)
    with FlopCounterMode(display=False) as counter:
        learner.meta_step(range(1), experiment.settings.algorithm.outer_lr)
    return Counts(tasks * counter.get_total_flops(), _bytes(experiment, tasks))


def _bytes(experiment: FixedTaskExperiment, tasks: int) -> int:
    algorithm, episode = experiment.settings.algorithm, experiment.fixed
    reptile = algorithm.name == "reptile"
    if reptile and experiment.settings.is_classification:
        episode = episode.with_queries(METRIC_QUERIES_PER_CLASS, experiment.settings.task.ways)
    parameters = sum(p.nbytes for p in experiment.theta().values())
    support, query = (parameters + _output_bytes(experiment.model, x[0]) for x in (episode.support_x, episode.query_x))
    inner = 4 if algorithm.name == "maml" else 2
    outer = 1 if reptile else 2
    data = sum(t.nbytes for t in (episode.support_x, episode.support_y, episode.query_x, episode.query_y))
    return tasks * (algorithm.inner_steps * inner * support + outer * query + data) + 2 * parameters


def _output_bytes(model: nn.Module, x: Tensor) -> int:
    """Count the bytes of the outputs of all layers for inputs `x`, except outputs that are views of their input."""
    sizes = output_sizes(model, tuple(x.shape[1:]))
    return len(x) * x.element_size() * sum(size for layer, size in sizes if not isinstance(layer, nn.Flatten))
