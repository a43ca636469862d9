"""Steps of `tests.gpu` that test whole runs: their results, a lack of memory, a second device, and resumption."""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from metatui.config import presets
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Checkpointed, Evaluated, Failed, Finished, Noted, Progress, Stop
from metatui.learning.experiment import set_up
from metatui.learning.training.trainer import Trainer
from metatui.learning.training.trainer_state import TrainerState, part
from metatui.runs.execution.session import Session
from metatui.runs.storage.checkpoints import newest_checkpoint
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils import paths
from metatui.utils.errors import SettingsError, class_and_message
from tests.gpu.common import (
    IMAGES,
    SHORT,
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

AGREEMENT = 1e-6
"""Maximum relative difference between the results of two float64 runs that should agree, such as one on the GPU and one
on the CPU."""

ALGORITHMS = ("maml", "fomaml", "reptile", "scratch", "pretrained")
ENGINES = ("batched", "unfolded", "loop", "higher")

ENOUGH = 0.95
"""Validation accuracy at which the step `learning` stops training."""


@dataclass(frozen=True)
class TrainingResult:
    """Results of a run that was trained to the end."""

    losses: list[float]
    """Meta-loss of each meta-step, followed by the mean test loss after each number of inner steps, from 0."""
    theta: Tensor
    """Vector of all meta-parameters, on the CPU."""
    notes: list[str]
    state: TrainerState


def train(settings: Settings, state: TrainerState | None = None) -> TrainingResult:
    """Train from the beginning, or from `state`, to the end, and return the results.

    Raises:
        AssertionError: if the run fails.
    """
    trainer = Trainer(settings, state=state)
    losses, notes = [], []
    for event in trainer.events():
        match event:
            case Progress():
                losses.append(event.meta_loss)
            case Noted():
                notes.append(event.text)
            case Failed():
                raise AssertionError(event.sentence)
            case Finished(test=test) if test:
                losses += test.loss.mean
    return TrainingResult(losses, trainer.learner.flat.vector.cpu(), notes, trainer.state())


def _difference(a: TrainingResult, b: TrainingResult) -> float:
    """Return the larger of two relative differences between runs: that of the losses and that of the parameters.

    The difference is infinite if the runs have different numbers of losses, and NaN if any value is NaN.
    """
    if len(a.losses) != len(b.losses):
        return math.inf
    losses = difference(torch.tensor(a.losses), torch.tensor(b.losses))
    return largest(losses, difference(a.theta, b.theta))


def runs(env: StepEnvironment) -> Iterator[Finding]:
    """Compare short float64 runs on the device with runs on the CPU, for each data source, algorithm and engine.

    Finally, train the default network.
    """
    short: Values = {
        **SHORT, "training.iterations": 2 if env.tiny else 5, "compute.precision": "float64",
        "model.filters": 4 if env.tiny else 16, "task.queries": 5, "algorithm.meta_batch": 2,
        "algorithm.inner_steps": 2,
    }  # fmt: skip
    sources = {"sinusoid": WAVES, "glyphs": IMAGES}
    if paths.omniglot_cache().is_file():
        sources["omniglot"] = {**IMAGES, "task.source": "omniglot"}
    for source, work in sources.items():
        for name in ALGORITHMS[:1] if env.tiny else ALGORITHMS:
            reference: TrainingResult | None = None
            for engine in ENGINES[:1] if env.tiny else ENGINES:
                title = f"{source}, {name}, {engine}"
                try:
                    settings = env.settings(work, {**short, "algorithm.name": name, "compute.engine": engine})
                except SettingsError:  # the algorithm does not support this engine
                    continue
                try:
                    reference = reference or train(
                        change(settings, {"compute.device": "cpu", "compute.engine": "batched"})
                    )
                    apart = _difference(train(settings), reference)
                except Exception as error:
                    yield checked_finding(title, class_and_message(error, 300))
                    continue
                problem = None if apart <= AGREEMENT else f"differs from the CPU by {apart:.1e}"
                yield checked_finding(title, problem, difference=apart)
    yield _default_run(env)


def _default_run(env: StepEnvironment) -> Finding:
    """Train the default network in float32 with the engine `auto`, as most users would."""
    engine, iterations = ("batched", 2) if env.tiny else ("auto", 12)
    more: Values = {**SHORT, "training.iterations": iterations, "compute.engine": engine}
    settings = env.settings({**IMAGES, "algorithm.meta_batch": 4}, more)
    began = time.monotonic()
    trained = train(settings)
    problem = None if all(map(math.isfinite, trained.losses)) else "a loss is not finite"
    return checked_finding("default network", problem, notes=trained.notes, seconds=round(time.monotonic() - began, 1))


def memory(env: StepEnvironment) -> Iterator[Finding]:
    """Check that a run with too little GPU memory continues with fewer tasks at once and gives the same results."""
    if env.simulated:
        yield skipped("memory limit", "a simulated device does not have its own memory")
        return
    if reason := env.cuda_skip_reason:
        yield skipped("memory limit", reason)
        return
    device = env.torch_device
    whole = torch.cuda.get_device_properties(device).total_memory
    settings = env.settings(
        {**IMAGES, "algorithm.meta_batch": 64},
        {**SHORT, "training.iterations": 3, "compute.engine": "batched", "compute.precision": "float64"},
    )
    free = train(settings)
    needed = torch.cuda.max_memory_reserved(device)
    gc.collect()
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved(device)
    limit = held + (needed - held) // 2
    torch.cuda.set_per_process_memory_fraction(limit / whole, device)
    try:
        limited = train(settings)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    halved = [note for note in limited.notes if "out of memory" in note]
    apart = _difference(limited, free)
    problem = "the limit was never reached" if not halved else None
    if not apart <= AGREEMENT:
        problem = f"with fewer tasks at once the run differs by {apart:.1e}"
    mib = {"needed_mib": needed >> 20, "limit_mib": limit >> 20}
    yield checked_finding("memory limit", problem, notes=limited.notes, difference=apart, **mib)


def second(env: StepEnvironment) -> Iterator[Finding]:
    """Check that runs on the first and second CUDA device agree, and that a run can be moved from one to the other."""
    if reason := env.cuda_skip_reason:
        yield skipped("second device", reason)
        return
    if torch.cuda.device_count() < 2:
        yield skipped("second device", "there is one CUDA device")
        return
    short: Values = {**SHORT, "training.iterations": 10, "compute.engine": "batched", "compute.precision": "float64"}
    first, other = (env.settings(WAVES, {**short, "compute.device": name}) for name in ("cuda:0", "cuda:1"))
    a, b = train(first), train(other)
    apart = _difference(b, a)
    problem = None if apart <= AGREEMENT else f"differs from cuda:0 by {apart:.1e}"
    yield checked_finding("cuda:1", problem, difference=apart, notes=b.notes)
    longer = {"training.iterations": 15}
    a, b = train(change(first, longer)), train(change(first, longer), b.state)
    apart = difference(b.theta, a.theta)
    problem = None if apart <= AGREEMENT else f"differs from a run on cuda:0 alone by {apart:.1e}"
    yield checked_finding("from cuda:1 to cuda:0", problem, difference=apart)


def auto(env: StepEnvironment) -> Iterator[Finding]:
    """Report the device and the engine that `auto` chooses when no measurements are cached."""
    os.environ["XDG_CACHE_HOME"] = str(env.scratch)
    works = {"waves": WAVES} if env.tiny else {"waves": WAVES, "images": IMAGES}
    for title, work in works.items():
        began = time.monotonic()
        experiment = set_up(env.settings(work, {"compute.device": "auto" if env.on_cuda else env.device}))
        device = experiment.device.name
        problem = f"auto took {device}" if env.on_cuda and not device.startswith("cuda") else None
        # The reason contains milliseconds, which are meaningless on a simulated device.
        reason = None if env.figures_skip_reason else experiment.engine_reason
        took = None if env.figures_skip_reason else round(time.monotonic() - began, 2)
        engine = experiment.settings.compute.engine
        yield checked_finding(title, problem, device=device, engine=engine, reason=reason, seconds=took)


def resume(env: StepEnvironment) -> Iterator[Finding]:
    """Kill a run with SIGKILL, resume it, and compare its parameters with those of an uninterrupted run."""
    ends = 12 if env.tiny else 200
    settings = env.settings(
        WAVES,
        {
            **SHORT, "training.iterations": ends, "compute.engine": "batched", "compute.precision": "float64",
            "evaluation.every": ends // 3,
        },
    )  # fmt: skip
    # Each runs in its own process; this one does not touch the device before they are forked.
    whole = _in_child(_whole_run, settings, env.scratch / "whole")
    _in_child(_killed_run, settings, env.scratch / "killed")
    (folder,) = map(RunFolder, (env.scratch / "killed").iterdir())
    resumed = _in_child(_resumed_run, settings, folder.path)
    if not whole or not resumed:
        yield checked_finding("kill and resume", f"the {'resumed run' if whole else 'uninterrupted run'} died")
        return
    apart = difference(torch.tensor(resumed), torch.tensor(whole))
    problem = None if apart <= AGREEMENT else f"differs from an uninterrupted run by {apart:.1e}"
    yield checked_finding("kill and resume", problem, difference=apart, to_the_bit=resumed == whole)


def _in_child(work: Callable[[Settings, Path], list[float]], settings: Settings, folder: Path) -> list[float]:
    """Call `work` in a forked process, and return its result, or an empty list if the process dies."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(work(settings, folder)))
    child.start()
    sender.close()
    try:
        result: list[float] = receiver.recv()
    except EOFError:
        result = []
    child.join()
    return result


def _whole_run(settings: Settings, folder: Path) -> list[float]:
    return _train_to_end(Session.start(settings, runs_dir=folder))


def _killed_run(settings: Settings, folder: Path) -> list[float]:
    """Train until the first meta-step after a checkpoint, then kill this process with SIGKILL."""
    saved = False
    for event in Session.start(settings, runs_dir=folder):
        saved = saved or isinstance(event, Checkpointed)
        if saved and isinstance(event, Progress):
            os.kill(os.getpid(), signal.SIGKILL)
    return []


def _resumed_run(settings: Settings, folder: Path) -> list[float]:
    return _train_to_end(Session.resume(RunFolder(folder)))


def _train_to_end(session: Session) -> list[float]:
    """Train to the end, and return the meta-parameters after the last meta-step."""
    for _ in session:
        pass
    state, _ = newest_checkpoint(session.run.checkpoints_path)
    assert state is not None
    return [value for _, p in sorted(part(state.tensors, "theta").items()) for value in p.flatten().tolist()]


def learning(env: StepEnvironment) -> Iterator[Finding]:
    """Train until the validation accuracy reaches 95 % or time runs out.

    The data set is Omniglot if it has been packed, otherwise glyphs.
    """
    real = paths.omniglot_cache().is_file()
    name = "omniglot-5way-1shot-finn" if real else "glyphs"
    every, tasks = (5, 2) if env.tiny else (250, 200)
    more: dict[str, str | int] = {
        "compute.device": env.device, "evaluation.every": every, "evaluation.tasks": tasks,
        "evaluation.test_tasks": 2,
    }  # fmt: skip
    if env.tiny:
        more |= {"model.filters": 4, "training.iterations": 5, "compute.engine": "batched", "compute.threads": 1}
    trainer = Trainer(change(presets.load(name).settings, more))
    title = f"{'Omniglot' if real else 'glyphs, not Omniglot, which is not packed here'} ({name})"
    began, best = time.monotonic(), None
    for event in trainer.events():
        if isinstance(event, Failed):
            yield checked_finding(title, event.sentence)
            return
        if isinstance(event, Evaluated):
            accuracy, interval = event.evaluation.final
            best = max(best or 0.0, accuracy)
            took = round(time.monotonic() - began, 1)
            if not env.figures_skip_reason:
                yield finding(
                    title, meta_steps=event.iteration, validation_accuracy=accuracy, ci95=interval, tasks=tasks,
                    seconds=took,
                )  # fmt: skip
            if accuracy >= ENOUGH or env.seconds_left() <= 0:
                trainer.submit(Stop())
    reached = best is not None and best >= ENOUGH
    if env.tiny:
        problem = None if best is not None else "nothing was validated"
        yield checked_finding("a few meta-steps and a validation", problem)
        yield skipped(title, "a tiny network does not learn to 95 %")
    else:
        problem = None if reached else f"the best validation accuracy in its time was {best}, below {ENOUGH}"
        yield checked_finding(title, problem, best_validation_accuracy=best, seconds=round(time.monotonic() - began, 1))
