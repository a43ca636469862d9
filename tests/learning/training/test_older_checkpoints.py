"""Tests of loading the checkpoints of older versions."""

from __future__ import annotations

from metatui.config.fields import change
from metatui.events import Progress, Stop
from metatui.learning.training.trainer import Trainer
from metatui.learning.training.trainer_state import TrainerState, evaluate_state
from tests.learning.algorithms.learned import GLYPHS


def test_wide_head_that_was_not_a_meta_parameter() -> None:
    settings = change(
        GLYPHS,
        {
            "algorithm.name": "pretrained", "training.iterations": 4, "evaluation.every": 1, "evaluation.tasks": 2,
            "evaluation.test_tasks": 2, "evaluation.inner_steps": 1,
        },
    )  # fmt: skip
    expected = [event.meta_loss for event in Trainer(settings).events() if isinstance(event, Progress)]
    saved: dict[str, TrainerState] = {}
    trainer = Trainer(settings, save=saved.__setitem__)
    for event in trainer.events():
        if isinstance(event, Progress) and event.iteration == 2:
            trainer.submit(Stop())
    tensors = {}
    for name, p in saved["last"].tensors.items():
        if name.startswith("theta/pooled/"):
            tensors[name.replace("theta/pooled/", "algorithm/head/")] = p
        elif "/pooled/" in name and not name.startswith("best/"):
            tensors[name.replace("/pooled/", "/")] = p
        elif not name.startswith("best/pooled/"):
            tensors.setdefault(name, p)
    older = TrainerState(tensors, saved["last"].values)
    assert not [name for name in tensors if "pooled" in name]
    resumed = [event.meta_loss for event in Trainer(settings, state=older).events() if isinstance(event, Progress)]
    assert resumed == expected[2:]
    evaluations = [evaluate_state(settings, state).loss for state in (older, saved["last"])]
    assert evaluations[0] == evaluations[1]
