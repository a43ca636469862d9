"""A comparison as one JSON object."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from metatui.runs.analysis.comparison.values import Comparison, Pair, RunResult, SeedPair
from metatui.runs.storage.jsonl import finite


def as_json(comparison: Comparison) -> dict[str, Any]:
    """What `metatui compare --json` prints.

    `runs` has the adaptation curve of each as lists over `steps`, from step 0; `curves.training` is the smoothed
    training curve and `curves.validation` the metric after the last inner step at each validation, both against
    meta-steps (`iterations`), tasks and seconds. `curves.training.averages` has the training curve with other
    smoothing, and `curves.training.changes` the live changes. Accuracies are fractions, and a difference is that of a
    minus b. A value that is unknown or not a number is null.
    """
    described: dict[str, Any] = finite(
        {
            "runs": [_run(comparison, run) for run in comparison.runs],
            "pairs": [_pair(pair) for pair in comparison.pairs],
            "seeds": [_seeds(pair) for pair in comparison.seeds],
            "warnings": comparison.warnings,
            "protocol": asdict(comparison.protocol),
            "metric": comparison.metric,
            "target": comparison.target,
        }
    )
    return described


def as_text(comparison: Comparison) -> str:
    return json.dumps(as_json(comparison), indent=2, allow_nan=False) + "\n"


def _run(comparison: Comparison, run: RunResult) -> dict[str, Any]:
    evaluation, costs = run.evaluation, run.costs
    return {
        "run": run.id,
        "dir": str(run.run.path),
        "label": run.label,
        "algorithm": run.settings.algorithm.name,
        "seed": run.settings.training.seed,
        "iteration": evaluation.iteration,
        "tasks": evaluation.tasks,
        "ways": evaluation.ways,
        "steps": evaluation.steps,
        "loss": asdict(evaluation.loss),
        "accuracy": asdict(evaluation.accuracy) if evaluation.accuracy else None,
        "diverged": run.diverged,
        "inner_lr": evaluation.inner_lr,
        "checkpoint": evaluation.checkpoint,
        "iterations": costs.iterations,
        "seconds": costs.seconds,
        "seconds_per_step": costs.seconds_per_step,
        "tasks_per_second": costs.tasks_per_second,
        "speed_ratio": comparison.speed_ratio(run),
        "peak_memory_bytes": costs.peak_memory_bytes,
        "device": costs.device,
        "device_name": costs.device_name,
        "host": costs.host,
        "to_target": asdict(run.to_target) if run.to_target else None,
        "curves": {
            "training": asdict(run.training) if run.training else None,
            "validation": asdict(run.validation),
        },
    }


def _pair(pair: Pair) -> dict[str, Any]:
    test = pair.test
    return {
        "a": pair.a.id,
        "b": pair.b.id,
        "metric": pair.metric,
        "step": pair.step,
        "tasks": test.tasks,
        "left_out": test.left_out,
        "difference": test.mean,
        "ci95": test.ci95,
        "median_difference": test.median,
        "t": test.t,
        "p": test.p,
        "p_holm": pair.p_holm,
        "wilcoxon_p": test.wilcoxon_p,
        "wilcoxon_p_holm": pair.wilcoxon_p_holm,
        "effect_size": test.effect_size,
        "verdict": pair.verdict,
    }


def _seeds(pair: SeedPair) -> dict[str, Any]:
    test = pair.test
    return {
        "a": [run.id for run in pair.a.runs],
        "b": [run.id for run in pair.b.runs],
        "metric": pair.metric,
        "step": pair.step,
        "difference": test.difference,
        "ci95": test.ci95,
        "t": test.t,
        "degrees": test.degrees,
        "p": test.p,
        "p_holm": pair.p_holm,
        "verdict": pair.verdict,
    }
