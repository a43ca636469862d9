"""Meta-steps with `higher` (Grefenstette et al. 2019) for the benchmark, written like the examples of that library."""

from __future__ import annotations

from copy import deepcopy

import higher
import torch

from tests.benchmarks.side import Side, parameters_of, synchronize
from tests.benchmarks.works import Work


def higher_side(work: Work) -> Side:
    """Prepare the meta-steps of MAML or FOMAML. For FOMAML, the graph of the inner loop is not recorded."""
    model, tasks, loss_fn = deepcopy(work.model), work.tasks, work.loss
    inner = torch.optim.SGD(model.parameters(), lr=work.algorithm.inner_lr)
    outer = torch.optim.Adam(model.parameters(), lr=work.algorithm.outer_lr)

    def step() -> None:
        outer.zero_grad()
        for support_x, support_y, query_x, query_y in tasks:
            with higher.innerloop_ctx(
                model, inner, copy_initial_weights=False, track_higher_grads=not work.first_order
            ) as (fast, optimizer):
                for _ in range(work.algorithm.inner_steps):
                    optimizer.step(loss_fn(fast(support_x), support_y))
                loss = loss_fn(fast(query_x), query_y) / len(tasks)
                if not work.first_order:
                    loss.backward()  # type: ignore[no-untyped-call]
                    continue
                # Without tracking, the adapted weights are leaves, whose gradient is the FOMAML gradient.
                for p, g in zip(model.parameters(), torch.autograd.grad(loss, list(fast.parameters())), strict=True):
                    p.grad = g if p.grad is None else p.grad + g
        outer.step()
        synchronize(work.device)

    return Side("higher", step, parameters_of(model))
