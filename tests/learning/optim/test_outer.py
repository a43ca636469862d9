"""Tests of the outer optimiser: learning-rate schedules, and agreement of Adam with its formulas."""

from __future__ import annotations

import pytest
import torch

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.learning.optim.flat_params import FlatParams
from metatui.learning.optim.outer import OuterAdam, scheduled_lr


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [0.5] * 6),
        ("linear", [0.5, 0.4, 0.3, 0.2, 0.1, 0.1]),
        ("cosine", [0.5, 0.3 + 0.2 * 0.5**0.5, 0.3, 0.3 - 0.2 * 0.5**0.5, 0.1, 0.1]),
    ],
)
def test_schedules(schedule: str, rates: list[float]) -> None:
    values: dict[str, Scalar] = {"outer_lr": 0.5, "outer_schedule": schedule}
    if schedule != "constant":
        values["outer_lr_final"] = 0.1
    algorithm = change(Settings(), {f"algorithm.{name}": value for name, value in values.items()}).algorithm
    assert [scheduled_lr(algorithm, done, 100) for done in (0, 25, 50, 75, 100, 150)] == pytest.approx(rates)


def test_adam_with_clipping_matches_its_formulas() -> None:
    """Compare three steps with Algorithm 1 of Kingma and Ba (2015), of which only the second one is clipped."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"weight": (3, 2), "bias": (3,)}

    def drawn() -> dict[str, torch.Tensor]:
        return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}

    def vector(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([t.flatten() for t in tensors.values()])

    flat = FlatParams(drawn())
    outer, theta = OuterAdam(flat), vector(flat.views)
    m = v = torch.zeros(9, dtype=torch.float64)
    for step, (lr, clip) in enumerate(((0.1, 0.0), (0.1, 1.0), (0.01, 100.0)), 1):
        gradients = drawn()
        g = vector(gradients)
        length = g.norm()
        torch.testing.assert_close(outer.step(gradients, lr=lr, clip=clip), length)
        g = g / length if step == 2 else g
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        theta = theta - lr * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
        torch.testing.assert_close(vector(flat.views), theta, rtol=1e-12, atol=1e-14)
