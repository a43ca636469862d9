"""Tests of Reptile: mini-batches, and agreement of a meta-step with a simple loop written from the paper."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.func import functional_call

from metatui.learning.algorithms.reptile import Reptile
from metatui.learning.experiment import set_up
from metatui.learning.training.learner import Learner
from tests.learning.algorithms.references import WAVES, settings_of

EXAMPLES = 10


def mini_batches(tasks: range, seed: int = 0, inner_batch: int = 4) -> torch.Tensor | None:
    """Return the mini-batches of five inner steps on ten support examples."""
    settings = settings_of(
        WAVES, "reptile", task__shots=EXAMPLES, algorithm__inner_steps=5, algorithm__inner_batch=inner_batch,
        training__seed=seed,
    )  # fmt: skip
    algorithm = set_up(settings).algorithm
    assert isinstance(algorithm, Reptile)
    return algorithm.mini_batches(tasks, EXAMPLES)


def test_mini_batches_cycle_through_the_support_set() -> None:
    batches = mini_batches(range(3))
    assert batches is not None
    assert batches.shape == (3, 5, 4)
    for first, second in zip(*torch.split(batches.flatten(1), EXAMPLES, dim=1), strict=True):
        assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(EXAMPLES))
        assert first.tolist() != second.tolist()  # shuffled again
    alone, other = mini_batches(range(2, 3)), mini_batches(range(3), seed=1)
    assert alone is not None
    assert other is not None
    assert torch.equal(alone[0], batches[2])
    assert not torch.equal(other, batches)
    assert mini_batches(range(3), inner_batch=EXAMPLES) is mini_batches(range(3), inner_batch=0) is None


def test_meta_step_matches_the_paper() -> None:
    """Compare a meta-step with Algorithm 2 of Nichol et al. (2018): two inner steps on two tasks, and ε = 0.3."""
    experiment = set_up(settings_of(WAVES, "reptile"))
    learner = Learner(experiment)
    theta = {name: p.clone() for name, p in learner.theta.items()}
    episodes, change = experiment.training_episodes(range(2)), {name: torch.zeros_like(p) for name, p in theta.items()}
    query_losses = []
    for x, y, query_x, query_y in zip(*episodes.tensors(), strict=True):
        fast = {name: p.clone().requires_grad_() for name, p in theta.items()}
        for _ in range(2):
            slopes = torch.autograd.grad(F.mse_loss(functional_call(experiment.model, fast, (x,)), y), [*fast.values()])
            fast = {n: (p - 0.05 * g).detach().requires_grad_() for (n, p), g in zip(fast.items(), slopes, strict=True)}
        query_losses.append(F.mse_loss(functional_call(experiment.model, fast, (query_x,)), query_y).item())
        change = {name: change[name] + (p - theta[name]).detach() / 2 for name, p in fast.items()}
    step = learner.meta_step(range(2), 0.3)
    for name, p in learner.theta.items():
        torch.testing.assert_close(p, theta[name] + 0.3 * change[name], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(step.meta_loss, sum(query_losses) / 2)  # type: ignore[union-attr]
