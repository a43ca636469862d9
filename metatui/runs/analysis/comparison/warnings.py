"""What a reader has to know before believing a comparison, besides different protocols."""

from __future__ import annotations

from collections.abc import Sequence

from metatui.runs.analysis.comparison.shared_protocol import told
from metatui.runs.analysis.comparison.values import RunResult
from metatui.utils.numbers import diverged


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
            rate = (
                "" if run.evaluation.inner_lr is None else f" at an inner learning rate of {run.evaluation.inner_lr:g}"
            )
            found.append(
                f"{diverged(run.diverged, run.evaluation.tasks)} in the evaluation of {run.label} ({step} inner "
                f"steps{rate}): means, intervals and tests leave them out"
            )
    found += [
        f"{run.label} has no finite validation, so its last parameters were evaluated and not its best"
        for run in runs
        if run.evaluation.checkpoint == "last" and run.validation.iterations
    ]
    timed = [run for run in runs if run.costs.seconds_per_step]
    machines = [f"{run.costs.device_name or 'an unknown device'} of {run.costs.host}" for run in timed]
    if len(set(machines)) > 1:
        which = told([run.label for run in timed], machines)
        found.append(f"times and memory are of different machines and do not compare: {which}")
    return found
