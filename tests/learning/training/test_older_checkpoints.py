"""Tests of loading the checkpoints of older versions."""

from __future__ import annotations

import torch

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Progress, Stop
from metatui.learning.training.trainer import Trainer
from metatui.learning.training.trainer_state import TrainerState, evaluate_state
from tests.learning.algorithms.learned import GLYPHS

PRETRAINED = change(
    GLYPHS,
    {
        "algorithm.name": "pretrained", "training.iterations": 4, "evaluation.every": 1, "evaluation.tasks": 2,
        "evaluation.test_tasks": 2, "evaluation.inner_steps": 1,
    },
)  # fmt: skip


def stopped(settings: Settings) -> TrainerState:
    """Return the state of a run that was stopped after two meta-steps."""
    saved: dict[str, TrainerState] = {}
    trainer = Trainer(settings, save=saved.__setitem__)
    for event in trainer.events():
        if isinstance(event, Progress) and event.iteration == 2:
            trainer.submit(Stop())
    return saved["last"]


def test_wide_head_that_was_not_a_meta_parameter() -> None:
    settings = PRETRAINED
    expected = [event.meta_loss for event in Trainer(settings).events() if isinstance(event, Progress)]
    saved = stopped(settings)
    tensors = {}
    for name, p in saved.tensors.items():
        if name.startswith("theta/pooled/"):
            tensors[name.replace("theta/pooled/", "algorithm/head/")] = p
        elif "/pooled/" in name and not name.startswith("best/"):
            tensors[name.replace("/pooled/", "/")] = p
        elif not name.startswith("best/pooled/"):
            tensors.setdefault(name, p)
    older = TrainerState(tensors, saved.values)
    assert not [name for name in tensors if "pooled" in name]
    resumed = [event.meta_loss for event in Trainer(settings, state=older).events() if isinstance(event, Progress)]
    assert resumed == expected[2:]
    evaluations = [evaluate_state(settings, state).loss for state in (older, saved)]
    assert evaluations[0] == evaluations[1]


def test_scale_that_was_that_of_both_heads() -> None:
    settings = change(PRETRAINED, {"model.head": "cosine"})
    saved = stopped(settings)
    tensors, scale = dict(saved.tensors), "17.scale"
    for place in ("theta", "best", "algorithm/exp_avg", "algorithm/exp_avg_sq", "algorithm/step"):
        tensors[f"{place}/{scale}"] = tensors.pop(f"{place}/pooled/{scale}")
    trainer = Trainer(settings, state=TrainerState(tensors, saved.values))
    resumed, trained = trainer.state().tensors, saved.tensors[f"theta/pooled/{scale}"]
    assert torch.equal(resumed[f"theta/{scale}"], trained)  # as in the evaluations of the older version
    differing = [name for name, p in saved.tensors.items() if not torch.equal(p, resumed[name])]
    assert set(differing) <= {f"theta/{scale}", f"best/{scale}", f"best/pooled/{scale}"}
    list(trainer.events())
    assert torch.equal(trainer.learner.theta[scale], trained)
    assert not torch.equal(trainer.learner.theta[f"pooled/{scale}"], trained)
