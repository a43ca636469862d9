"""Runs for the survival tests. They cover all algorithms and engines, and all state that a resumed run must restore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.schedule import Planned, PlannedChange, PlannedValidation
from metatui.config.settings import Settings

Commands = Mapping[int, Sequence[Sequence[Any]]]
"""Commands in the format of `process.command_of`, keyed by the meta-step after which they are submitted."""

COMMON: Mapping[str, Scalar] = {
    "compute.device": "cpu", "checkpoint.every": 1.0, "evaluation.every": 25, "evaluation.tasks": 8,
    "evaluation.test_tasks": 10, "evaluation.inner_steps": 3, "algorithm.meta_batch": 3, "algorithm.inner_steps": 2,
    "training.seed": 11,
}  # fmt: skip

SINUSOID: Mapping[str, Scalar] = {**COMMON, "training.iterations": 150, "model.hidden": (16, 16), "compute.threads": 1}

GLYPHS: Mapping[str, Scalar] = {
    **COMMON, "task.source": "glyphs", "task.ways": 3, "task.shots": 2, "task.queries": 3, "model.filters": 4,
    "training.iterations": 60, "evaluation.every": 20, "evaluation.tasks": 4, "evaluation.test_tasks": 4,
    "compute.threads": 1,
}  # fmt: skip

SCHEDULED: Mapping[str, Scalar] = {"algorithm.outer_schedule": "cosine", "algorithm.outer_lr_final": 1e-5}
WIDE: Mapping[str, Scalar] = {"model.filters": 16}
"""Setting with which the network is wide enough for the native engine."""

STOPS_EARLY: Mapping[str, Scalar] = {"training.early_stop": 2, "evaluation.every": 10, "algorithm.outer_lr": 1e-6}

PLAN: tuple[Planned, ...] = (
    PlannedChange(0, "algorithm.inner_lr", 0.02),
    PlannedChange(31, "algorithm.outer_lr", 0.004),
    PlannedChange(31, "algorithm.meta_batch", 4),
    PlannedValidation(44),
    PlannedChange(44, "algorithm.inner_steps", 3),
)
"""Changes and a validation that are planned before training."""

TWEAKS: Commands = {
    12: [["change", "algorithm.inner_lr", 0.03]],
    37: [["pause"], ["evaluate"], ["change", "algorithm.outer_lr", 0.0005], ["resume"]],
    41: [["change", "training.iterations", 90], ["change", "algorithm.meta_batch", 2], ["evaluate"]],
}
"""Commands that a viewer could submit during training."""


@dataclass(frozen=True)
class Case:
    algorithm: str
    engine: str
    base: Mapping[str, Scalar]
    overrides: Mapping[str, Scalar] = field(default_factory=dict)
    plan: tuple[Planned, ...] = ()
    commands: Commands = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        chosen = {"algorithm.name": self.algorithm, "compute.engine": self.engine}
        return change(Settings(), {**self.base, **chosen, **self.overrides})

    @property
    def title(self) -> str:
        second = str(self.overrides.get("compute.second_order", ""))
        parts = [str(self.base.get("task.source", "sinusoid")), second]
        parts += ["schedule"] if "algorithm.outer_schedule" in self.overrides else []
        parts += ["early stop"] if "training.early_stop" in self.overrides else []
        parts += ["scheduled changes"] if self.plan else []
        parts += ["tweaks, a pause and validations"] if self.commands else []
        return ", ".join(filter(None, parts))


UNROLLED: Mapping[str, Scalar] = {"compute.second_order": "unrolled"}
RECOMPUTED: Mapping[str, Scalar] = {"compute.second_order": "recomputed"}
COMPILED: Mapping[str, Scalar] = {"compute.compile_after": 20}
TASKS_IN_THREADS: Mapping[str, Scalar] = {"compute.threads": 2}
MINI_BATCHES: Mapping[str, Scalar] = {"algorithm.inner_batch": 4, "algorithm.inner_optimizer": "adam"}

CASES = (
    Case("maml", "batched", SINUSOID, {**UNROLLED, **SCHEDULED}, commands=TWEAKS),
    Case("maml", "batched", GLYPHS, RECOMPUTED, PLAN),
    Case("maml", "loop", SINUSOID, {**RECOMPUTED, **SCHEDULED}, PLAN),
    Case("maml", "loop", GLYPHS, {**UNROLLED, **TASKS_IN_THREADS}, commands=TWEAKS),
    Case("maml", "native", GLYPHS, {**WIDE, **TASKS_IN_THREADS}, PLAN),
    Case("maml", "unfolded", GLYPHS, SCHEDULED, commands=TWEAKS),
    Case("maml", "higher", SINUSOID, STOPS_EARLY, commands=TWEAKS),
    Case("maml", "compiled", SINUSOID, {**COMPILED, **SCHEDULED}, PLAN),
    Case("fomaml", "batched", GLYPHS, {"algorithm.inner_optimizer": "adam"}, commands=TWEAKS),
    Case("fomaml", "loop", SINUSOID, STOPS_EARLY, PLAN),
    Case("fomaml", "native", GLYPHS, {**WIDE, **SCHEDULED}, commands=TWEAKS),
    Case("fomaml", "unfolded", GLYPHS, {}, PLAN),
    Case("fomaml", "higher", GLYPHS, SCHEDULED),
    Case("fomaml", "compiled", SINUSOID, COMPILED, commands=TWEAKS),
    Case("reptile", "batched", SINUSOID, {**SCHEDULED, **MINI_BATCHES, "algorithm.outer_lr": 0.5}, commands=TWEAKS),
    Case("reptile", "loop", GLYPHS, {"algorithm.outer_lr": 0.5}, PLAN),
    Case("reptile", "native", GLYPHS, {**WIDE, "algorithm.outer_lr": 0.5}, PLAN),
    Case("reptile", "unfolded", GLYPHS, {"algorithm.outer_lr": 0.5}),
    Case("reptile", "higher", SINUSOID, {"algorithm.outer_lr": 0.5}, PLAN),
    Case("reptile", "compiled", SINUSOID, {**COMPILED, "algorithm.outer_lr": 0.5}, PLAN),
    Case("pretrained", "batched", SINUSOID, SCHEDULED, PLAN),
    Case("pretrained", "loop", GLYPHS, {}, commands=TWEAKS),
    Case("scratch", "batched", SINUSOID),
    Case("scratch", "loop", GLYPHS),
)
