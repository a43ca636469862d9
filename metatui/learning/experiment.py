"""The set-up of an experiment: device, data, model and engine, created from the settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import prod

import torch
from torch import Tensor, nn

from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, change, fixed_reason
from metatui.config.registry import DATA
from metatui.config.settings import Settings
from metatui.learning.algorithm import Algorithm, GradientBased, algorithm_class
from metatui.learning.data.data_set import few_tasks
from metatui.learning.data.episodes import Episodes, Split, TaskSource, training_size
from metatui.learning.engines.autotune import EngineTimings, choose, measured_for
from metatui.learning.engines.base import GRAPH_OF_GRADIENT, Engine, meta_parameters
from metatui.learning.engines.native.build import library
from metatui.learning.engines.registry import EngineName, make_engine
from metatui.learning.engines.sequential import is_chain, is_perceptron
from metatui.learning.hardware.cuda import cuda_problem
from metatui.learning.hardware.devices import Device, default_threads, resolve, use
from metatui.learning.hardware.memory import keep_freed_memory
from metatui.learning.model import make_model
from metatui.learning.nn.output_sizes import output_sizes
from metatui.learning.nn.weights import LoadedWeights, load_weights
from metatui.learning.optim.inner import Params
from metatui.learning.optim.losses import CROSS_ENTROPY, MEAN_SQUARED_ERROR, Loss
from metatui.utils.errors import BadInput, Problem, SettingsError, quote
from metatui.utils.progress import stages

PREFETCHED_POINTS = 50_000
"""Number of regression points that are sampled together. Sampling consists of many small operations, which would take
too long if they were repeated for every meta-step."""

PREFETCHED_VALUES = 5_000_000
"""Maximum number of input and target values that are sampled together. For tables with many columns, this allows fewer
points than `PREFETCHED_POINTS`."""

GRAPH_MEMORY = 1 / 8
"""Largest fraction of the device's memory that the graphs of all inner steps may take, if `compute.second_order` is
`auto`."""


@dataclass
class Experiment:
    """Everything that an experiment needs to run. Its `settings` contain resolved values instead of `auto`."""

    settings: Settings
    device: Device
    source: TaskSource
    model: nn.Module
    loss: Loss
    engine: Engine
    engine_reason: str
    measured: EngineTimings
    """Measured times of the engines on this machine."""
    notices: tuple[str, ...]
    """Warnings to show to the user before the training starts."""
    notes: tuple[str, ...] = ()
    """Messages, other than warnings, to record in the journal of a run."""
    weights: str = ""
    """SHA-256 of the file of pretrained weights that the model started from; empty if there is no such file."""
    _prefetched: tuple[range, Episodes] | None = field(default=None, repr=False)
    """Task numbers and episodes of the regression tasks that were sampled in advance."""
    _algorithm: Algorithm | None = field(default=None, repr=False)

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm with the current settings."""
        if self._algorithm is None or self._algorithm.settings is not self.settings:
            self._algorithm = algorithm_class(self.settings.algorithm.name)(self.settings, self.model)
        return self._algorithm

    @property
    def torch_device(self) -> torch.device:
        return torch.device(self.device.name)

    @property
    def dtype(self) -> torch.dtype:
        return _dtype(self.settings)

    def theta(self) -> Params:
        """Return the initial meta-parameters. Those that are parameters of the model share memory with the model."""
        params = {name: p.detach() for name, p in meta_parameters(self.model).items()}
        return self.algorithm.meta_parameters(params, self.source)

    def frozen(self) -> Params:
        """Return the tensors of the model that are never learned: frozen parameters and buffers."""
        learned = meta_parameters(self.model)
        return {name: t for name, t in self.model.state_dict().items() if name not in learned}

    def change_setting(self, path: str, value: Scalar) -> tuple[Scalar, Scalar]:
        """Change a setting during the run.

        Returns:
            The old and the new value.

        Raises:
            BadInput: if the setting does not exist, cannot be changed during this run, or does not allow this value.
        """
        if path not in FIELDS or not FIELDS[path].live:
            live = ", ".join(name for name, field in FIELDS.items() if field.live)
            raise BadInput(f"{path} cannot be changed during a run; these settings can: {live}")
        if reason := fixed_reason(path, self.settings):
            raise BadInput(f"{path} cannot be changed during this run: {reason}")
        old = self.settings.value(path)
        self.settings = change(self.settings, {path: value})
        return old, self.settings.value(path)

    def episodes(
        self, split: Split, tasks: Sequence[int], *, seed: int, shots: int, ways: int | None = None
    ) -> Episodes:
        """Sample the episodes of `tasks`, on the device and in the precision of the experiment.

        Args:
            ways: number of classes; by default `task.ways`.
        """
        drawn = _draw(self.settings, self.source, split, tasks, seed=seed, shots=shots, ways=ways)
        return drawn.to(self.torch_device, self.dtype)

    def training_episodes(self, tasks: range) -> Episodes:
        """Return the meta-batch of the training episodes numbered `tasks`."""
        # Prefetching does not change the numbers, because a task depends only on the seed and its number.
        if self._prefetched is None or not (tasks[0] in self._prefetched[0] and tasks[-1] in self._prefetched[0]):
            seed, varies = self.settings.training.seed, self.settings.training_size_varies
            (_, ways), (_, shots) = self.settings.ways_in_training, self.settings.shots_in_training
            if varies:
                ways, shots = training_size(self.settings, tasks.start)
            if varies or self.settings.is_classification:
                return self.episodes("train", tasks, seed=seed, shots=shots, ways=ways)
            most = min(PREFETCHED_POINTS, PREFETCHED_VALUES // (prod(self.source.input_shape) + self.source.targets))
            batches = max(1, most // (len(tasks) * (shots + self.settings.task.queries)))
            ahead = range(tasks.start, tasks.start + batches * len(tasks))
            self._prefetched = ahead, self.episodes("train", ahead, seed=seed, shots=shots)
        numbers, episodes = self._prefetched
        return episodes.chunk(tasks.start - numbers.start, tasks.stop - numbers.start)


def set_up(
    settings: Settings,
    *,
    first_meta_batch: int | None = None,
    source: TaskSource | None = None,
    frozen: Mapping[str, Tensor] | None = None,
) -> Experiment:
    """Create everything that `settings` describe.

    This also sets the number of CPU threads, the matmul precision and the CUDA device of the calling thread.

    Args:
        first_meta_batch: size of the meta-batch at the start of the training, if the size has changed since then. It
            determines the number of threads, on which the rounding of sums depends.
        source: the data set, if it is not the one that `settings` select.
        frozen: saved values of the tensors that are never learned, keyed by name; see `Experiment.frozen`.

    Raises:
        BadInput: if the device or the data set is not available, or the device does not support the settings.
    """
    device = resolve(settings.compute.device)
    _check_device(settings, device)
    torch_device = torch.device(device.name)
    use(torch_device)
    if source is None:
        stages.report("loading the data")
        source = DATA[settings.task.source].load(settings, torch_device)
    dtype = _dtype(settings)
    model, weights = _model(settings, source)
    _write_frozen(model, frozen or {})
    model = model.to(device=torch_device, dtype=dtype)
    algorithm = algorithm_class(settings.algorithm.name)(settings, model)
    if isinstance(algorithm, GradientBased):
        algorithm.check_adapted()
    loss = CROSS_ENTROPY if settings.is_classification else MEAN_SQUARED_ERROR
    threads, workers = _thread_counts(settings, device, first_meta_batch)
    if device.name == "cpu" and settings.is_classification:
        keep_freed_memory()
    torch.set_float32_matmul_precision("high" if settings.compute.tf32 else "highest")
    if device.name.startswith("cuda"):
        torch.backends.cudnn.allow_tf32 = settings.compute.tf32
    if settings.compute.engine == "auto" and _graphs_fit(algorithm, model, source.input_shape, device):
        settings = change(settings, {"compute.second_order": "unrolled"})
        algorithm = algorithm_class(settings.algorithm.name)(settings, model)
    measured = measured_for(settings, device, model, threads)
    name, reason = settings.compute.engine, "as set"
    torch.set_num_threads(1 if workers > 1 else threads)
    if name == "auto":

        def sample(tasks: int) -> Episodes:
            (_, ways), (_, shots) = settings.ways_in_training, settings.shots_in_training
            drawn = _draw(settings, source, "train", range(tasks), seed=settings.training.seed, shots=shots, ways=ways)
            return drawn.to(torch_device, dtype)

        meta = algorithm.meta_parameters(meta_parameters(model), source)
        name, reason = choose(algorithm, meta, device, model, loss, measured, workers, sample)
    # Threads that each compute their own tasks wait for each other once per meta-step. Threads that share an operation
    # wait for each other in every operation, and stall when another process needs a core.
    torch.set_num_threads(1 if (workers > 1 and name in ("loop", "native")) or name == "compiled" else threads)
    if name == "compiled":  # chooses its own number of threads, up to this one
        threads = settings.compute.threads or default_threads()
    if name == "native" and library(dtype) is None:
        reason = f"{reason}; this engine is slow without a C compiler"
    notices = [*source.notices, *_few_tasks(settings, source)]
    notes = [*source.notes]
    if weights:
        (notes if weights.is_complete else notices).append(weights.report)
    if name == settings.compute.engine:
        notices += _without_effect(name, model)
    problem = cuda_problem() if settings.compute.device == "auto" and device.name != "cuda:0" else None
    engine = make_engine(name, model, loss, workers=workers, second_order=settings.compute.second_order)
    if why := engine.unsupported(algorithm):
        sentence = f"compute.engine is '{name}', but must be another engine for these algorithm settings: {why}"
        raise SettingsError([Problem("compute.engine", sentence)])
    return Experiment(
        settings=change(settings, {"compute.device": device.name, "compute.engine": name, "compute.threads": threads}),
        device=device,
        source=source,
        model=model,
        loss=loss,
        engine=engine,
        engine_reason=reason,
        measured=measured,
        notices=(*([problem] if problem else []), *notices),
        notes=tuple(notes),
        weights=weights.digest if weights else "",
    )


def _few_tasks(settings: Settings, source: TaskSource) -> Iterator[str]:
    """Yield a warning for each held-out split that has fewer different tasks than will be evaluated."""
    ways = settings.task.ways
    evaluated: dict[Split, int] = {"val": settings.evaluation.tasks, "test": settings.evaluation.test_tasks}
    for split, tasks in evaluated.items():
        if text := few_tasks(source.pool(split, ways), split, tasks, ways if settings.is_classification else None):
            yield text


def _graphs_fit(algorithm: Algorithm, model: nn.Module, input_shape: tuple[int, ...], device: Device) -> bool:
    """Return whether the graphs of all inner steps fit in the fraction `GRAPH_MEMORY` of the device's memory.

    If tasks vary in size, the graphs of the largest tasks must fit.

    Graphs that fit are kept, which is faster than computing each step twice. A run records the result, so that a rerun
    makes the same choice.
    """
    settings = algorithm.settings
    if settings.compute.second_order != "auto" or not algorithm.second_order or algorithm.plain is None:
        return False
    if not is_chain(model) or is_perceptron(model):  # the engines keep the graphs of such models in any case
        return False
    batch = settings.algorithm.meta_batch
    (_, ways), (_, shots) = settings.ways_in_training, settings.shots_in_training
    examples = shots * (ways if settings.is_classification else 1)
    together = min(batch, settings.compute.tasks_at_once or batch)
    graphs = GRAPH_OF_GRADIENT * algorithm.inner_steps * examples * together
    size = 8 if settings.compute.precision == "float64" else 4
    activations = sum(outputs for _, outputs in output_sizes(model, input_shape))
    return graphs * activations * size <= GRAPH_MEMORY * device.memory_bytes


def _model(settings: Settings, source: TaskSource) -> tuple[nn.Module, LoadedWeights | None]:
    """Create the model with its pretrained weights and the changes that the algorithm and `algorithm.freeze` make."""
    model = make_model(settings, source.input_shape, source.targets)
    weights = load_weights(model, settings.model.weights) if settings.model.weights else None
    model = algorithm_class(settings.algorithm.name).prepare_model(model, settings)
    patterns = [pattern.strip() for pattern in settings.algorithm.freeze.split(",") if pattern.strip()]
    for name, p in model.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            p.requires_grad_(False)
    if not meta_parameters(model):
        frozen = quote(settings.algorithm.freeze)
        sentence = f"algorithm.freeze is {frozen}, but must leave at least one model parameter trainable"
        raise SettingsError([Problem("algorithm.freeze", sentence)])
    return model, weights


def _write_frozen(model: nn.Module, frozen: Mapping[str, Tensor]) -> None:
    """Copy saved tensors into the model. Raises BadInput if a name or a shape differs."""
    slots = model.state_dict()
    for name, t in frozen.items():
        if name not in slots or slots[name].shape != t.shape:
            raise BadInput(f"the checkpoint's tensor {quote(name)} does not fit the model that the settings describe")
        slots[name].copy_(t)


def _check_device(settings: Settings, device: Device) -> None:
    """Raise `SettingsError` if `device` does not support the precision or the engine."""
    compute = settings.compute
    if device.name == "mps" and compute.precision == "float64":
        sentence = "compute.precision is 'float64', but must be float32 on mps, which does not support float64"
        raise SettingsError([Problem("compute.precision", sentence)])
    if device.name != "cpu" and compute.engine in ("compiled", "native"):
        sentence = (
            f"compute.engine is '{compute.engine}', but must be another engine on {device.name}: "
            f"'{compute.engine}' only runs on the CPU"
        )
        raise SettingsError([Problem("compute.engine", sentence)])


def _without_effect(engine: EngineName, model: nn.Module) -> Iterator[str]:
    """Yield a warning if `engine` trains `model` exactly like another engine."""
    has_convolutions = any(isinstance(module, nn.Conv2d) for module in model.modules())
    if engine == "unfolded" and not has_convolutions:
        yield "compute.engine is 'unfolded', which differs from 'batched' only in convolutions, but the model has none"
    if engine == "native" and not (has_convolutions and is_chain(model)):
        yield (
            "compute.engine is 'native', which differs from 'loop' only in the convolutions of an nn.Sequential, but "
            "the model has none"
        )


def _thread_counts(settings: Settings, device: Device, first_meta_batch: int | None) -> tuple[int, int]:
    """Return the number of threads that torch may use, and the number of worker threads that compute separate tasks."""
    # The time of small networks goes into dispatching operations, which more threads do not speed up.
    threads = settings.compute.threads or (default_threads() if settings.is_classification else 1)
    meta_batch = settings.algorithm.meta_batch if first_meta_batch is None else first_meta_batch
    return threads, threads if device.name == "cpu" and meta_batch > 1 else 1


def _dtype(settings: Settings) -> torch.dtype:
    return torch.float64 if settings.compute.precision == "float64" else torch.float32


def _draw(
    settings: Settings,
    source: TaskSource,
    split: Split,
    tasks: Sequence[int],
    *,
    seed: int,
    shots: int,
    ways: int | None = None,
) -> Episodes:
    task = settings.task
    return source.episodes(split, tasks, seed=seed, ways=ways or task.ways, shots=shots, queries=task.queries)
