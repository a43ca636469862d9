"""Tests of pretraining with a head for all training classes."""

from __future__ import annotations

import pytest
import torch

from metatui.config.fields import change
from metatui.learning.training.trainer import Trainer
from tests.learning.algorithms.learned import GLYPHS

SETTINGS = change(
    GLYPHS,
    {
        "algorithm.name": "pretrained", "training.iterations": 4, "evaluation.tasks": 2, "evaluation.test_tasks": 2,
        "evaluation.inner_steps": 1,
    },
)  # fmt: skip


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_head_for_evaluation_stays_at_its_initialisation(head: str) -> None:
    trainer = Trainer(change(SETTINGS, {"model.head": head}))
    theta, names = trainer.learner.theta, trainer.experiment.algorithm.head
    before = {name: p.clone() for name, p in theta.items()}
    list(trainer.events())
    changed = {name for name, p in theta.items() if not torch.equal(p, before[name])}
    assert changed == theta.keys() - set(names)
    assert {f"pooled/{name}" for name in names} <= changed


def test_frozen_scale_is_that_of_both_heads() -> None:
    trainer = Trainer(change(SETTINGS, {"model.head": "cosine", "algorithm.freeze": "*.scale"}))
    list(trainer.events())
    assert not [name for name in trainer.learner.theta if name.endswith("scale")]
