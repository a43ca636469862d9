"""Side of metatui: meta-steps of its algorithms, by the engine chosen by `auto` or by a given engine."""

from __future__ import annotations

import torch

from metatui.config.fields import FIELDS, change
from metatui.learning.algorithms import ALGORITHMS
from metatui.learning.benchmark.measurement import set_up_fixed
from metatui.learning.optim.outer import Diverged
from metatui.learning.training.compile_worker import compile_apart
from metatui.utils.errors import MetatuiError
from tests.benchmarks.side import Make, Side, Unavailable, synchronize
from tests.benchmarks.works import Work

OTHERS = tuple(name for name in FIELDS["compute.engine"].choices if name not in ("auto", "higher"))
"""Engines that can be timed in addition to `auto`. `higher` has its own side."""


def metatui_side(work: Work, engine: str = "auto") -> Side:
    """Create the side: meta-steps as in training, including metrics, on fixed tasks."""
    try:
        experiment = set_up_fixed(change(work.settings, {"compute.engine": engine}))
        algorithm, options = ALGORITHMS[work.algorithm.name](experiment), experiment.settings.algorithm
        if algorithm.graphs:
            if not algorithm.graphs.path(experiment.fixed, options).is_file():
                compile_apart(experiment.settings)
            algorithm.graphs.use(experiment.fixed, options)
        if algorithm.captures:
            algorithm.captures.capture(experiment.fixed, options)
    except MetatuiError as error:
        raise Unavailable(str(error)) from error
    tasks = range(len(work.episodes))
    start = {name: t.clone() for name, t in algorithm.tensors().items()}

    def step() -> None:
        try:
            algorithm.meta_step(tasks, options, options.outer_lr)
        except Diverged:  # can happen after very many meta-steps on the same few tasks
            algorithm.load({name: t.clone() for name, t in start.items()})
        synchronize(work.device)

    name = "metatui" if engine == "auto" else f"metatui, {engine}"
    return Side(name, step, lambda: algorithm.theta, torch.get_num_threads(), experiment.settings.compute.engine)


def by_engine(engine: str) -> Make:
    """Return a maker of the side for one engine."""
    return lambda work: metatui_side(work, engine)
