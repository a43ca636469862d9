"""Steps of `tests.gpu` that measure the speed of meta-steps, their kernels, the overhead of runs, and evaluations."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict

import torch

from metatui.config.declarations import Scalar
from metatui.events import Failed, Progress, Stop
from metatui.learning.benchmark.measurement import measure, set_up_fixed
from metatui.learning.benchmark.timing import copy_rate, matmul_rate
from metatui.learning.benchmark.workloads import CAPTURED_ALGORITHMS, CAPTURED_ENGINES, OF_CONVOLUTIONS
from metatui.learning.evaluation.evaluate import evaluate
from metatui.learning.experiment import set_up
from metatui.learning.training.learner import Learner
from metatui.learning.training.meta_steps import MAX_PENDING_STEPS
from metatui.runs.execution.session import Session
from metatui.utils.errors import class_and_message
from tests.gpu.common import (
    CELLS,
    IMAGES,
    SHORT,
    WAVES,
    Finding,
    StepEnvironment,
    Values,
    checked_finding,
    finding,
    skipped,
)

SECONDS = 0.5
"""Duration of each measurement of meta-steps in seconds, after the warm-up."""

ENGINES = ("batched", "unfolded", "loop")
TOP = 20
"""Maximum number of kernels to list."""

WORKS: Mapping[str, Values] = {
    "images, maml": IMAGES,
    "waves, maml": WAVES,
    "images, fomaml": {**IMAGES, "algorithm.name": "fomaml"},
    "images, reptile": {**IMAGES, "algorithm.name": "reptile", "algorithm.outer_lr": 0.1},
    **{f"Finn {cell}, maml": work for cell, work in CELLS.items()},
}


def speed(env: StepEnvironment) -> Iterator[Finding]:
    """Measure the time per meta-step for each workload and engine, with and without CUDA graphs and TF32."""
    if not env.figures_skip_reason:
        yield finding("rates", **_rates(env.torch_device))
    tried = 0
    for title, engine, captured, tf32 in _cells(env):
        name = f"{title}, {engine}, {'captured' if captured else 'eager'}{', TF32' if tf32 else ''}"
        if env.seconds_left() <= 0:
            yield skipped(name, "no time was left for it")
            continue
        more: dict[str, Scalar] = {"compute.engine": engine, "compute.tf32": tf32, "compute.cuda_graphs": captured}
        settings = env.settings(WORKS[title], more)
        try:
            took = measure(settings, 0.001 if env.figures_skip_reason else SECONDS)
        except Exception as error:
            yield checked_finding(name, class_and_message(error, 300))
            continue
        tried += 1
        if not env.figures_skip_reason:
            many = settings.algorithm.meta_batch
            yield finding(name, **asdict(took), tasks=many, tasks_per_s=1000 * many / took.ms)
    if env.figures_skip_reason:
        yield checked_finding("meta-steps as they are measured", None if tried else "none could be taken", kinds=tried)
        yield skipped("figures", env.figures_skip_reason)


def _cells(env: StepEnvironment) -> Iterator[tuple[str, str, bool, bool]]:
    """Yield the combinations to measure: workload, engine, whether meta-steps are captured, and whether TF32 is used.

    The combinations that are probably fastest come first, in case time runs out.
    """
    works = list(WORKS)[1:2] if env.tiny else list(WORKS)
    ways = [(captured, tf32) for captured in (True, False) if env.on_cuda or not captured for tf32 in (False, True)]
    for engine in ENGINES[:1] if env.tiny else ENGINES:
        for captured, tf32 in ways:
            for title in works:
                waves, name = title.startswith("waves"), str(WORKS[title].get("algorithm.name", "maml"))
                if captured and not (name in CAPTURED_ALGORITHMS and engine in CAPTURED_ENGINES):
                    continue
                if tf32 and (waves or not env.on_cuda or env.tiny):
                    continue
                if not (waves and engine in OF_CONVOLUTIONS):
                    yield title, engine, captured, tf32


def _rates(device: torch.device) -> dict[str, float]:
    """Measure the peak rates of matrix products in TFLOP/s and of memory copies in GB/s."""
    rates = {}
    for tf32 in (False, True) if device.type == "cuda" else (False,):
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        rates["tf32_tflops" if tf32 else "float32_tflops"] = matmul_rate(device, torch.float32) / 1e12
    return {**rates, "copy_gb_per_s": copy_rate(device) / 1e9}


def kernels(env: StepEnvironment) -> Iterator[Finding]:
    """List the CUDA kernels that take the most time in an eager meta-step."""
    if env.simulated:
        yield skipped("kernels", "a simulated device has no kernels to profile")
        return
    if reason := env.cuda_skip_reason:
        yield skipped("kernels", reason)
        return
    from torch.profiler import ProfilerActivity, profile

    for title in ("images, maml", "waves, maml"):
        experiment = set_up_fixed(env.settings(WORKS[title], {"compute.engine": "batched"}))
        learner, current = Learner(experiment), experiment.settings.algorithm
        learner.captures = None
        tasks = range(current.meta_batch)
        for _ in range(3):
            learner.meta_step(tasks, 1e-6)
        torch.cuda.synchronize(env.torch_device)
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            learner.meta_step(tasks, 1e-6)
            torch.cuda.synchronize(env.torch_device)
        busy = [row for row in profiled.key_averages() if row.device_time_total > 0]
        rows = sorted(busy, key=lambda row: -row.device_time_total)
        yield finding(
            title, launches=sum(row.count for row in rows), busy_ms=sum(row.device_time_total for row in rows) / 1e3
        )
        for row in rows[:TOP]:
            share = {"launches": row.count, "ms": row.device_time_total / 1e3}
            yield finding(f"{title}: {row.key[:100]}", **share)


def overhead(env: StepEnvironment) -> Iterator[Finding]:
    """Compare the time per meta-step in a run, as in `metatui run`, with that of bare meta-steps on fixed tasks."""
    titles = ("waves, maml",) if env.tiny else ("waves, maml", "images, maml", "Finn 5-way 1-shot, maml")
    for number, title in enumerate(titles):
        more: Values = {**SHORT, "compute.engine": "batched", "training.iterations": 30 if env.tiny else 300}
        settings = env.settings(WORKS[title], more)
        until = time.monotonic() + env.seconds_left() / (len(titles) - number)
        session, problem = Session.start(settings, runs_dir=env.scratch), None
        seen: list[tuple[int, float]] = []
        for event in session:
            match event:
                case Progress():
                    seen.append((event.iteration, time.perf_counter()))
                    if time.monotonic() > until:
                        session.submit(Stop())
                case Failed():
                    problem = event.sentence
        # The metrics of several meta-steps arrive together: measure from the first of a group to the first of another.
        firsts = [each for each in seen[len(seen) // 3 :] if each[0] % MAX_PENDING_STEPS == 1]
        if problem or len(firsts) < 2:
            yield checked_finding(title, problem or f"only {len(seen)} meta-steps were made in its time")
        elif env.figures_skip_reason:
            yield skipped(title, env.figures_skip_reason)
        else:
            (a, began), (b, ended) = firsts[0], firsts[-1]
            run_ms = 1000 * (ended - began) / (b - a)
            bare = measure(settings, SECONDS)
            yield finding(title, run_ms=run_ms, bare_ms=bare.ms, overhead=run_ms / bare.ms - 1)


def evaluation(env: StepEnvironment) -> Iterator[Finding]:
    """Evaluate 600 tasks (10 inner steps each) twice, as at the end of a run, and report time and peak memory use."""
    tasks, steps = (3, 1) if env.tiny else (600, 10)
    settings = env.settings(IMAGES, {"compute.engine": "batched"})
    experiment = set_up(settings)
    results = []
    for number in (1, 2):
        if env.on_cuda:
            torch.cuda.reset_peak_memory_stats(env.torch_device)
        began = time.perf_counter()
        run = evaluate(experiment, experiment.theta(), iteration=0, split="test", tasks=tasks, steps=steps, shots=1)
        while True:
            try:
                next(run)
            except StopIteration as ended:
                results.append(ended.value)
                break
        if env.figures_skip_reason:
            continue
        peak = torch.cuda.max_memory_allocated(env.torch_device) >> 20 if env.on_cuda else None
        yield finding(f"pass {number}", seconds=round(time.perf_counter() - began, 3), peak_mib=peak, tasks=tasks)
    first, again = (result.loss.mean for result in results)
    finite = all(abs(value) < float("inf") for value in first)
    yield checked_finding(
        "result", None if finite else "a mean loss is not finite", tasks=tasks, repeatable=first == again
    )
    if env.figures_skip_reason:
        yield skipped("figures", env.figures_skip_reason)
