"""Reptile in plain PyTorch, as a user writes it: copies of a module, torch.optim.SGD, no library."""

from __future__ import annotations

from copy import deepcopy

import torch

from tests.benchmarks.side import Make, Side, parameters_of, synchronize
from tests.benchmarks.works import Work


def plain_side(*, record: bool) -> Make:
    """Nichol et al. 2018, Algorithm 2, on the whole support set in every inner step.

    Args:
        record: whether to compute the query loss after adaptation too. Reptile does not need it; metatui's meta-step
            has it, because that is what the curve of every algorithm shows.
    """

    def make(work: Work) -> Side:
        model, tasks, loss_fn = deepcopy(work.model), work.tasks, work.loss
        knobs = work.algorithm

        def step() -> None:
            change = [torch.zeros_like(p) for p in model.parameters()]
            for support_x, support_y, query_x, query_y in tasks:
                learner = deepcopy(model)
                optimizer = torch.optim.SGD(learner.parameters(), lr=knobs.inner_lr)
                for _ in range(knobs.inner_steps):
                    optimizer.zero_grad()
                    loss_fn(learner(support_x), support_y).backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                with torch.no_grad():
                    for total, after, before in zip(change, learner.parameters(), model.parameters(), strict=True):
                        total += after - before
                    if record:
                        loss_fn(learner(query_x), query_y).item()
            with torch.no_grad():
                for p, total in zip(model.parameters(), change, strict=True):
                    p.add_(total, alpha=knobs.outer_lr / len(tasks))
            synchronize(work.device)

        name = "plain PyTorch and query loss" if record else "plain PyTorch"
        return Side(name, step, parameters_of(model))

    return make
