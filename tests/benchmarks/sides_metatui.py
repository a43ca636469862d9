"""Meta-steps of metatui for the benchmark, with the engine that `auto` chooses or with a given engine."""

from __future__ import annotations

import torch

from metatui.config.fields import FIELDS, change
from metatui.learning.benchmark.measurement import set_up_fixed
from metatui.learning.optim.outer import DivergedError
from metatui.learning.training.compile_worker import compile_in_child
from metatui.learning.training.learner import Learner
from metatui.utils.errors import MetatuiError
from tests.benchmarks.side import Make, Side, UnavailableError, synchronize
from tests.benchmarks.works import Work

OTHERS = tuple(name for name in FIELDS["compute.engine"].choices if name not in ("auto", "higher"))
"""Engines that can be timed in addition to the one that `auto` chooses. `higher` is not among them because it is timed
as a separate library."""


def metatui_side(work: Work, engine: str = "auto") -> Side:
    """Prepare the meta-steps of metatui. They are the same as in training, including metrics, but on fixed tasks."""
    try:
        experiment = set_up_fixed(change(work.settings, {"compute.engine": engine}))
        learner, settings = Learner(experiment), experiment.settings.algorithm
        if learner.graphs:
            if not learner.graphs.path(experiment.fixed, settings).is_file():
                compile_in_child(experiment.settings)
            learner.graphs.use(experiment.fixed, settings)
        if learner.captures:
            learner.captures.capture(experiment.fixed, learner.algorithm)
    except MetatuiError as error:
        raise UnavailableError(str(error)) from error
    tasks = range(len(work.episodes))
    start = learner.flat.vector.clone()

    def step() -> None:
        try:
            learner.meta_step(tasks, settings.outer_lr)
        except DivergedError:  # can happen after very many meta-steps on the same few tasks
            learner.flat.vector.copy_(start)
            learner.load({name: torch.zeros_like(t) for name, t in learner.tensors().items()})
        synchronize(work.device)

    name = "metatui" if engine == "auto" else f"metatui, {engine}"
    return Side(name, step, lambda: learner.theta, torch.get_num_threads(), experiment.settings.compute.engine)


def by_engine(engine: str) -> Make:
    """Return a function that prepares the meta-steps of metatui with the given engine."""
    return lambda work: metatui_side(work, engine)
