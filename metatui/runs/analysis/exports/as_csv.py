"""A comparison as CSV: the adaptation curves, a row for each run, metric and inner step."""

from __future__ import annotations

import csv
import io

from metatui.runs.analysis.comparison.values import Comparison

COLUMNS = (
    "run", "label", "algorithm", "seed", "iteration", "split", "tasks", "ways", "shots", "queries", "batch_norm",
    "metric", "inner_step", "mean", "ci95", "inner_lr", "diverged", "checkpoint",
)  # fmt: skip


def as_csv(comparison: Comparison) -> str:
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(COLUMNS)
    for run in comparison.runs:
        e = run.evaluation
        about = (
            run.id, run.label, run.settings.algorithm.name, run.settings.training.seed, e.iteration, e.split, e.tasks,
            e.ways, e.shots, e.queries, e.batch_norm,
        )  # fmt: skip
        for metric, curve in (("accuracy", e.accuracy), ("loss", e.loss)):
            if curve is not None:
                for step, mean, half in zip(e.steps, curve.mean, curve.ci95, strict=True):
                    rows.writerow((*about, metric, step, mean, half, e.inner_lr, run.diverged, e.checkpoint))
    return file.getvalue()
