"""Choice of the engine for `compute.engine = "auto"`: the fastest one for the model, the tasks and the machine.

Measuring takes a second or two, and its results are cached. The run's settings record the chosen engine, so that a
rerun uses the same engine.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import shutil
import time
from collections.abc import Callable, Container
from contextlib import suppress

import torch
from torch import nn

from metatui.config.constraints import compiles
from metatui.config.settings import Settings
from metatui.learning.algorithm import Algorithm
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.base import Engine
from metatui.learning.engines.compiled.cuda_graph import CapturedStep, CaptureFailedError, captures
from metatui.learning.engines.native.build import library
from metatui.learning.engines.registry import EngineName, make_engine, usual_engine
from metatui.learning.hardware.devices import Device, synchronize
from metatui.learning.hardware.memory import free_unused_memory, is_out_of_memory
from metatui.learning.optim.flat_params import FlatParams
from metatui.learning.optim.inner import Params
from metatui.learning.optim.losses import Loss
from metatui.learning.optim.outer import OuterAdam
from metatui.utils import paths
from metatui.utils.errors import MetatuiError, class_and_message
from metatui.utils.files import read_bounded, replacing
from metatui.utils.progress import stages

WORTH_COMPILING = 30.0
"""Meta-steps are compiled only if the batched engine would take more than this many seconds for the rest of the
training, because compiling takes 20 s on two cores."""

MAX_BYTES = 4 * 2**20
"""Maximum size of the cache file, in bytes. A larger file is not read."""

MAX_ENTRIES = 500
"""Maximum number of entries in the cache file. When there are more, the oldest ones are dropped."""

SECONDS = 0.4
"""Number of seconds for which each engine is measured, unless a single meta-gradient takes longer."""

CAPTURE_GAIN = 10.0
"""Largest speed-up that is expected from CUDA graphs. An engine that is slower than the fastest one by more than this
factor is measured without a CUDA graph, because capturing a graph takes as long as several meta-steps."""


class EngineTimings:
    """The time of a meta-step with each engine, for one model and one kind of task on one machine."""

    def __init__(self, *, key: str) -> None:
        self._key = key
        self.ms: dict[str, float] = _read().get(key, {})

    def add(self, engine: str, ms: float) -> None:
        """Store a measurement in memory and, if possible, in the cache file."""
        self.ms[engine] = ms
        known = _read()
        known.pop(self._key, None)
        known[self._key] = self.ms
        with suppress(MetatuiError), replacing(paths.measured_engines_file()) as file:
            file.write(json.dumps(dict(list(known.items())[-MAX_ENTRIES:]), indent=1).encode())


def measured_for(settings: Settings, device: Device, model: nn.Module, threads: int) -> EngineTimings:
    """Return this machine's cached measurements for meta-steps with these settings."""
    algorithm = settings.algorithm
    (_, ways), (_, shots) = settings.ways_in_training, settings.shots_in_training
    what: tuple[object, ...] = (
        torch.__version__, platform.node(), device.title, threads, repr(model), settings.compute.precision,
        settings.compute.second_order, ways if settings.is_classification else 1, shots,
        settings.task.queries, algorithm.name, algorithm.inner_steps, algorithm.inner_optimizer, algorithm.meta_batch,
        algorithm.adapt, algorithm.freeze, getattr(settings, algorithm.name, None),
    )  # fmt: skip
    if device.name != "cpu":
        compute = settings.compute
        captured = compute.cuda_graphs and not settings.training_size_varies
        what = (*what, "captured" if captured else "eager", compute.tf32, compute.tasks_at_once)
    return EngineTimings(key=hashlib.sha256(repr(what).encode()).hexdigest()[:24])


def choose(
    algorithm: Algorithm,
    meta: Params,
    device: Device,
    model: nn.Module,
    loss: Loss,
    measured: EngineTimings,
    workers: int,
    sample: Callable[[int], Episodes],
) -> tuple[EngineName, str]:
    """Choose the engine for `algorithm`. Engines that raise an exception are skipped.

    Args:
        meta: the meta-parameters.
        measured: cached measurements, to which new ones are added.
        workers: number of threads that share the tasks in the loop engine. Other engines are measured with
            the same number of torch threads.
        sample: function that draws a given number of tasks, which are used to measure the engines. If tasks vary in
            size, it draws the largest ones.

    Returns:
        The chosen engine, and the reason for the choice.

    Raises:
        Exception: the error that the default engine raised, if every engine fails.
    """
    settings = algorithm.settings
    usual = usual_engine(model, torch.device(device.name))
    if algorithm.timed is None:
        return usual, "the default engine for this model and device"
    stages.report("choosing the engine")  # compiles the native engine if necessary
    others: list[EngineName] = ["loop" if usual == "batched" else "batched"]
    if device.name != "cpu" and settings.is_classification:
        others.append("unfolded")
    if usual == "loop" and library(next(model.parameters()).dtype) is not None:
        others.append("native")
    failed: dict[EngineName, Exception] = {}
    earlier = set(measured.ms)
    for number, name in enumerate((usual, *others), 1):
        if name in measured.ms:
            continue
        stages.report(f"measuring engines: {name} ({number} of {1 + len(others)})")
        try:
            engine = make_engine(name, model, loss, workers=workers, second_order=settings.compute.second_order)
            if workers > 1:  # as in training, where threads share either the tasks or each operation
                torch.set_num_threads(1 if name in ("loop", "native") else workers)
            limit = min(measured.ms.values(), default=None)
            ms = _milliseconds(engine, algorithm, meta, sample, workers, limit=limit)
        except MetatuiError:  # the tasks cannot be drawn for any engine
            raise
        except Exception as error:  # the libraries of a device raise exceptions of any class
            failed[name] = error
        else:
            measured.add(name, ms)
    working = [name for name in (usual, *others) if name not in failed]
    if not working:
        raise failed[usual]
    fastest = min(working, key=lambda name: measured.ms[name])
    without = "".join(f"; {name} failed: {class_and_message(error, 100)}" for name, error in failed.items())
    if _worth_compiling(settings, device, measured, fastest):
        which = "compiled" if "compiled" in measured.ms else fastest
        after = f"after {settings.compute.compile_after:,} meta-steps"
        return "compiled", f"{after}; {which} {_describe_timings(measured, which, earlier)}{without}"
    return fastest, f"{_describe_timings(measured, fastest, earlier)}{without}"


def _worth_compiling(settings: Settings, device: Device, measured: EngineTimings, fastest: str) -> bool:
    """Return whether meta-steps should be compiled.

    The answer depends only on the settings, on whether there is a compiler, and on the measurements of the eager
    engines. It does not depend on cached packages or on the speed of compiled meta-steps, so that the same settings
    always select the same engine.
    """
    later = settings.training.iterations - settings.compute.compile_after
    return (
        device.name == "cpu"
        and fastest == "batched"
        and compiles(settings)
        and later * measured.ms[fastest] / 1000 > WORTH_COMPILING
        and has_compiler()
    )


def has_compiler() -> bool:
    """Return whether torch finds a C++ compiler."""
    command = os.environ.get("CXX")
    return any(shutil.which(name) for name in ([command] if command else ["g++", "c++", "clang++"]))


def _describe_timings(measured: EngineTimings, chosen: str, earlier: Container[str]) -> str:
    """Return a phrase with the times of the chosen and the other engines. Times of engines in `earlier` were cached."""
    others = ", ".join(f"{name}: {in_ms(ms)}" for name, ms in sorted(measured.ms.items()) if name != chosen)
    when = "measured earlier:" if chosen in earlier else "measured"
    return f"{when} {in_ms(measured.ms[chosen])} per meta-step" + (f"; {others}" if others else "")


def in_ms(value: float) -> str:
    """Format a time in milliseconds, for example as `71.2 ms` or `1,160 ms`."""
    return f"{value:,.0f} ms" if value >= 999.5 else f"{value:.3g} ms"


def _milliseconds(
    engine: Engine,
    algorithm: Algorithm,
    meta: Params,
    sample: Callable[[int], Episodes],
    workers: int,
    *,
    limit: float | None,
) -> float:
    """Measure the time of a meta-gradient in milliseconds.

    For Reptile, an adaptation is measured instead. If runs use CUDA graphs, a whole meta-step is captured as a CUDA
    graph and measured.

    The result is the shortest of several measured times, or of at most three if they all exceed twice `limit`. For
    images on a CPU, only two tasks are measured (or one for each worker if there are more than two workers), because
    the time is proportional to the number of tasks. On a GPU, all tasks that fit in memory are measured.
    """
    settings = algorithm.settings
    tasks, on_cpu = settings.algorithm.meta_batch, _device(engine).type == "cpu"
    if on_cpu:
        some = min(tasks, max(2, workers)) if settings.is_classification else tasks
    else:
        some = min(tasks, settings.compute.tasks_at_once or tasks)
    while True:
        try:
            return _timed(engine, algorithm, meta, sample(some), limit=limit) * tasks / some
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if on_cpu or some == 1 or not is_out_of_memory(error):
                raise
        free_unused_memory(_device(engine))
        some //= 2


def _timed(engine: Engine, algorithm: Algorithm, meta: Params, episodes: Episodes, *, limit: float | None) -> float:
    """Measure how many milliseconds the timed part of a meta-step takes for all tasks in `episodes`."""
    settings, device = algorithm.settings.algorithm, _device(engine)
    limit = math.inf if limit is None else limit * len(episodes) / settings.meta_batch

    def eager() -> None:
        if algorithm.timed == "adaptation":
            engine.adapted(algorithm, meta, episodes)
        else:
            engine.meta_gradient_of(algorithm, meta, episodes)

    def once(call: Callable[[], object]) -> float:
        began = time.perf_counter()
        call()
        synchronize(device)
        return 1000 * (time.perf_counter() - began)

    def shortest(call: Callable[[], object]) -> float:
        began, took = time.perf_counter(), [once(call)]
        while time.perf_counter() - began < SECONDS and (min(took) < 2 * limit or len(took) < 3):
            took.append(once(call))
        return min(took)

    if device.type == "cpu":
        if limit == math.inf:
            eager()  # the first call of the process loads and sets up libraries
        return shortest(eager)
    eager()  # the first call on a device also sets up its libraries
    synchronize(device)
    if not captures(algorithm, engine, device) or once(eager) > CAPTURE_GAIN * limit:
        return shortest(eager)
    flat = FlatParams({name: p.detach().clone() for name, p in meta.items()})
    captured = CapturedStep(engine, flat, OuterAdam(flat))
    try:
        captured.capture(episodes, algorithm)
        return shortest(lambda: captured(episodes, settings, settings.outer_lr))
    except CaptureFailedError:  # as in training, which then continues without a graph
        return shortest(eager)
    finally:
        captured.release()


def _device(engine: Engine) -> torch.device:
    return next(engine.model.parameters()).device


def _read() -> dict[str, dict[str, float]]:
    """Return all cached measurements. The result is empty if the cache file is missing or invalid."""
    try:
        content = json.loads(read_bounded(paths.measured_engines_file(), MAX_BYTES))
        known = {key: {name: float(ms) for name, ms in value.items()} for key, value in content.items()}
    except (MetatuiError, ValueError, AttributeError, TypeError, OverflowError, RecursionError):
        return {}
    if not all(math.isfinite(ms) and ms > 0 for engines in known.values() for ms in engines.values()):
        return {}
    return known
