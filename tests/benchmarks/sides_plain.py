"""Meta-steps of Reptile for the benchmark, written in PyTorch without a meta-learning library."""

from __future__ import annotations

from copy import deepcopy

import torch

from tests.benchmarks.side import Side, parameters_of, synchronize
from tests.benchmarks.works import Work


def plain_side(work: Work) -> Side:
    """Prepare the meta-steps of Reptile (Nichol et al. 2018, Algorithm 2).

    For each task, torch.optim.SGD adapts a copy of the model. Every inner step uses the full support set.
    """
    model, tasks, loss_fn, options = deepcopy(work.model), work.tasks, work.loss, work.algorithm

    def step() -> None:
        change = [torch.zeros_like(p) for p in model.parameters()]
        for support_x, support_y, _, _ in tasks:
            learner = deepcopy(model)
            optimizer = torch.optim.SGD(learner.parameters(), lr=options.inner_lr)
            for _ in range(options.inner_steps):
                optimizer.zero_grad()
                loss_fn(learner(support_x), support_y).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            with torch.no_grad():
                for total, after, before in zip(change, learner.parameters(), model.parameters(), strict=True):
                    total += after - before
        with torch.no_grad():
            for p, total in zip(model.parameters(), change, strict=True):
                p.add_(total, alpha=options.outer_lr / len(tasks))
        synchronize(work.device)

    return Side("plain PyTorch", step, parameters_of(model))
