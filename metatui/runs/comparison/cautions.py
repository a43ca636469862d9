"""What a reader has to know before believing a comparison, besides different protocols."""

from __future__ import annotations

from collections.abc import Sequence

from metatui.runs.comparison.protocol import told
from metatui.runs.comparison.values import RunResult


def cautions(runs: Sequence[RunResult]) -> list[str]:
    """A sentence each: runs that are not over, tasks that diverged, times from different machines."""
    found = []
    for run in runs:
        if (status := run.run.status()) != "finished":
            total = run.settings.training.iterations
            made = run.costs.iterations
            found.append(f"{run.label} is not finished: {status} after {made:,} of {total:,} meta-steps")
    for run in runs:
        if run.diverged:
            step = run.evaluation.steps[-1]
            some = f"{run.diverged:,} of {run.evaluation.tasks:,} tasks"
            found.append(
                f"the loss of {run.label} is not finite on {some} after {step} inner steps, so neither is its mean"
            )
    timed = [run for run in runs if run.costs.seconds_per_step]
    machines = [f"{run.costs.device_name or 'an unknown device'} of {run.costs.host}" for run in timed]
    if len(set(machines)) > 1:
        which = told([run.label for run in timed], machines)
        found.append(f"times and memory are of different machines and do not compare: {which}")
    return found
