"""Steps of `tests.gpu` that describe the machine, and test episodes, gradients and CUDA graphs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from itertools import groupby, islice
from typing import Any

import torch

from metatui.config.fields import change
from metatui.config.registry import DATA
from metatui.learning.benchmark.workloads import CAPTURED_ENGINES
from metatui.learning.checks.check import cases, compare, run_checks
from metatui.learning.checks.comparison import Check
from metatui.learning.hardware.cuda import cuda_status
from metatui.learning.hardware.devices import available
from metatui.learning.training.learner import Learner, MetaStep, PendingStep
from metatui.utils import paths
from metatui.utils.errors import BadInput, class_and_message
from tests.gpu.common import (
    IMAGES,
    WAVES,
    Finding,
    StepEnvironment,
    Values,
    checked_finding,
    difference,
    finding,
    largest,
    skipped,
)

AGREEMENT = 1e-9
"""Maximum difference between captured and eager meta-steps in float64, as measured by `_captured_against_eager`."""

SOURCES = ("sinusoid", "glyphs", "omniglot")


def machine(env: StepEnvironment) -> Iterator[Finding]:
    """Report the machine, the build of torch, the CUDA driver and the devices."""
    yield finding(
        "host", python=platform.python_version(), system=platform.platform(), cores=os.cpu_count(),
        torch=torch.__version__, omniglot=paths.omniglot_cache().is_file(),
    )  # fmt: skip
    status = cuda_status()
    cudnn: Any = torch.backends.cudnn
    there = [f"{gpu.name}, capability {gpu.capability}" for gpu in status.driver.gpus]
    yield checked_finding(
        "cuda", status.problem, torch_cuda=status.build, architectures=status.architectures, gpus=there,
        driver=status.driver.version, driver_cuda=status.driver.cuda, simulated=env.simulated,
        cudnn=cudnn.version() if env.on_cuda and not env.simulated else None,
    )  # fmt: skip
    for device in available():
        free = torch.cuda.mem_get_info(device.name)[0] if device.name.startswith("cuda") else None
        yield finding(device.name, title=device.title, memory_bytes=device.memory_bytes, free_bytes=free)


def episodes(env: StepEnvironment) -> Iterator[Finding]:
    """Check that episodes on the device are bitwise equal to those on the CPU, for each data source and split."""
    for name in SOURCES:
        settings = env.settings({"task.source": name, "task.shots": 1, "task.queries": 3})
        try:
            here, there = (DATA[name].load(settings, torch.device(d)) for d in ("cpu", env.torch_device))
        except BadInput as error:
            yield skipped(name, str(error))
            continue
        tasks, differing = range(4 if env.tiny else 64), []
        for split in ("train", "val", "test"):
            a, b = (
                source.episodes(split, tasks, seed=1, ways=5, shots=2, queries=3).to(torch.device("cpu"), torch.float32)
                for source in (here, there)
            )
            if not all(torch.equal(x, y) for x, y in zip(a.tensors(), b.tensors(), strict=True)):
                differing.append(split)
        problem = f"tasks differ from the CPU's in {', '.join(differing)}" if differing else None
        yield checked_finding(name, problem, tasks=len(tasks))


def check(env: StepEnvironment) -> Iterator[Finding]:
    """Run the comparisons of `metatui check` on the device, including those with networks of full size.

    With `--tiny`, run only the first three comparisons.
    """
    device = env.torch_device
    results = islice(compare(cases(device)[0], full_size=True), 3) if env.tiny else run_checks(str(device))
    for name, group in groupby(results, key=lambda result: result.name):
        checks = list(group)
        wrong = [_described(each) for each in checks if not each.ok]
        worst = largest(*(each.relative_error for each in checks))
        yield checked_finding(name, "; ".join(wrong) or None, checks=len(checks), largest_error=worst)


def _described(result: Check) -> str:
    pair = f"{result.algorithm} by {result.engine} against {result.reference}"
    return f"{pair}: {result.relative_error:.1e}, tolerance {result.tolerance:.0e}"


def captures(env: StepEnvironment) -> Iterator[Finding]:
    """Check that captured meta-steps give the same results as eager ones.

    Learning rates, gradient clipping and the meta-batch size change between the meta-steps.
    """
    if reason := env.cuda_skip_reason:
        yield skipped("captures", reason)
        return
    works = (
        ("waves", WAVES, ("batched", "loop")),
        ("images", {**IMAGES, "algorithm.meta_batch": 4, "algorithm.inner_steps": 2}, sorted(CAPTURED_ENGINES)),
    )
    for title, work, engines in works[:1] if env.tiny else works:
        for engine in engines[:1] if env.tiny else engines:
            for name in ("maml",) if env.tiny else ("maml", "fomaml"):
                values = {**work, "algorithm.name": name, "compute.engine": engine, "compute.precision": "float64"}
                try:
                    figures = _captured_against_eager(env, values)
                except Exception as error:
                    yield checked_finding(f"{title}, {name}, {engine}", class_and_message(error, 300))
                    continue
                worst = largest(*figures.values())
                problem = None if worst <= AGREEMENT else f"captured and eager meta-steps differ by {worst:.1e}"
                yield checked_finding(f"{title}, {name}, {engine}", problem, **figures)
    default = torch.cuda.current_stream() == torch.cuda.default_stream()
    yield checked_finding("stream after captures", None if default else "the current stream is not the default one")


def _captured_against_eager(env: StepEnvironment, values: Values) -> dict[str, float]:
    """Take the same meta-steps captured and eagerly, and return the differences between the results.

    Returns:
        The relative difference between the parameters, and the largest absolute difference between the losses.
    """
    settings = env.settings(values)
    eager, graphed = env.learner(settings), env.learner(settings)
    eager.captures = None
    many = settings.algorithm.meta_batch
    tasks, figures = 0, 0.0
    for inner_lr, outer_lr, clip, batch in (
        (0.01, 0.001, 0.0, many),
        (0.1, 0.01, 0.0, many),
        (0.02, 0.002, 0.5, many),
        (0.02, 0.002, 0.5, many + 1),
        (0.05, 0.001, 0.01, many),
    ):
        now = {"algorithm.inner_lr": inner_lr, "algorithm.grad_clip": clip, "algorithm.meta_batch": batch}
        for learner in (eager, graphed):
            learner.experiment.settings = change(learner.experiment.settings, now)
        numbers = range(tasks, tasks + batch)
        graphed.capture(numbers)
        a, b = _step(eager, numbers, outer_lr), _step(graphed, numbers, outer_lr)
        figures = largest(figures, abs(a.meta_loss - b.meta_loss), abs(a.support_loss - b.support_loss))
        tasks += batch
    if graphed.captures is None:
        raise AssertionError("the meta-steps were not captured")
    return {"parameters": difference(graphed.flat.vector, eager.flat.vector), "losses": figures}


def _step(learner: Learner, tasks: range, outer_lr: float) -> MetaStep:
    step = learner.meta_step(tasks, outer_lr)
    if isinstance(step, PendingStep):
        (step,) = learner.read([step])
    elif learner.captures is not None:
        raise AssertionError("a meta-step that was captured is taken eagerly")
    return step
