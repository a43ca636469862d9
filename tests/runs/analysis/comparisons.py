"""Helpers for tests of comparisons: briefly trained runs and constructed results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from metatui.config.declarations import Scalar
from metatui.config.fields import change, parse
from metatui.config.settings import Settings
from metatui.events import Curve, Evaluation
from metatui.learning.evaluation.statistics import diverged_tasks, mean_ci95
from metatui.runs.analysis.comparison import Costs, RunResult, TaskValues, ValidationCurve
from metatui.runs.execution.session import Session
from metatui.runs.storage.run_folder import RunFolder

SINUSOID = parse(
    {
        "model": {"hidden": (8,)},
        "algorithm": {"meta_batch": 2},
        "training": {"iterations": 20},
        "evaluation": {"every": 10, "tasks": 5, "test_tasks": 6, "inner_steps": 2},
        "compute": {"device": "cpu", "threads": 1},
    }
)
GLYPHS = change(
    SINUSOID,
    {
        "task.source": "glyphs", "task.ways": 3, "task.shots": 1, "task.queries": 2, "model.filters": 2,
        "model.downsample": "stride", "training.iterations": 2, "evaluation.every": 1,
    },
)  # fmt: skip


def train(runs_dir: Path, base: Settings = SINUSOID, **changes: Scalar) -> RunFolder:
    """Train a run to completion, and return its folder.

    Args:
        changes: changed settings; the keyword `group__name` changes the setting `group.name`.
    """
    settings = change(base, {name.replace("__", "."): value for name, value in changes.items()})
    session = Session.start(settings, runs_dir=runs_dir)
    for _ in session:
        pass
    return session.run


def result(
    label: str,
    loss: Sequence[float],
    accuracy: Sequence[float] | None = None,
    *,
    settings: Settings = SINUSOID,
    queries: int = 10,
    costs: Costs | None = None,
) -> RunResult:
    """Return the result of a run with the given loss and accuracy of each task after one inner step.

    Before the inner step, all losses are 5 and all accuracies are 0.
    """

    def columns(values: Sequence[float], before: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return np.stack([np.full(len(values), before), np.asarray(values, dtype=np.float64)], axis=1)

    losses = columns(loss, 5.0)
    hits = None if accuracy is None else columns(accuracy, 0.0)
    lost = diverged_tasks(torch.from_numpy(losses), regression=hits is None).numpy()
    return RunResult(
        run=RunFolder(Path("runs") / label.lower()),
        label=label,
        settings=settings,
        evaluation=Evaluation(
            split="test", tasks=len(loss), shots=1, queries=queries, ways=None if hits is None else 1,
            batch_norm=None if hits is None else "transductive", iteration=20, steps=(0, 1),
            loss=Curve(*mean_ci95(torch.from_numpy(losses))),
            accuracy=None if hits is None else Curve(*mean_ci95(torch.from_numpy(hits))), seconds=1.0,
            diverged=int(lost.sum()),
        ),
        values=TaskValues(losses, hits, lost),
        same_tasks=(),
        training=None,
        validation=ValidationCurve((), (), (), (), (), ()),
        costs=costs or Costs(20, 1.0, 0.05, 40.0, 2**28, "cpu", "a CPU", "here"),
        to_target=None,
    )  # fmt: skip
