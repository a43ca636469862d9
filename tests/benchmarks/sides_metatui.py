"""metatui's side: its algorithms' own meta-steps, by whatever engine `auto` takes or by a given one."""

from __future__ import annotations

import torch

from metatui.config.fields import FIELDS, change
from metatui.learning.algorithms import ALGORITHMS
from metatui.learning.benchmark.fixed_tasks import set_up_given
from metatui.learning.optim.outer import Diverged
from metatui.learning.training.compile_worker import compile_apart
from metatui.utils.errors import MetatuiError
from tests.benchmarks.side import Make, Side, Unavailable, synchronize
from tests.benchmarks.works import Work

OTHERS = tuple(name for name in FIELDS["compute.engine"].choices if name not in ("auto", "higher"))
"""Engines that can be timed beside what `auto` takes; `higher` has a side of its own."""


def metatui_side(work: Work, engine: str = "auto") -> Side:
    """Meta-steps as the trainer makes them, metrics included, on tasks that need not be drawn."""
    try:
        experiment = set_up_given(change(work.settings, {"compute.engine": engine}))
        algorithm, knobs = ALGORITHMS[work.algorithm.name](experiment), experiment.settings.algorithm
        if algorithm.graphs:
            if not algorithm.graphs.path(experiment.given, knobs).is_file():
                compile_apart(experiment.settings)
            algorithm.graphs.use(experiment.given, knobs)
        if algorithm.captures:
            algorithm.captures.capture(experiment.given, knobs)
    except MetatuiError as error:
        raise Unavailable(str(error)) from error
    tasks = range(len(work.episodes))
    start = {name: t.clone() for name, t in algorithm.tensors().items()}

    def step() -> None:
        try:
            algorithm.meta_step(tasks, knobs, knobs.outer_lr)
        except Diverged:  # nobody trains on the same few tasks for a hundred thousand meta-steps
            algorithm.load({name: t.clone() for name, t in start.items()})
        synchronize(work.device)

    name = "metatui" if engine == "auto" else f"metatui, {engine}"
    return Side(name, step, lambda: algorithm.theta, torch.get_num_threads(), experiment.settings.compute.engine)


def by_engine(engine: str) -> Make:
    """The side of one engine."""
    return lambda work: metatui_side(work, engine)
