"""Groups of runs that differ only in their seeds, with statistics across the seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import TypeVar

from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, change
from metatui.config.settings import Settings
from metatui.runs.analysis.comparison.labels import labels
from metatui.runs.analysis.comparison.values import RecordedRun, RunResult, SeedCurve, SeedGroup
from metatui.runs.execution.run_log import FREE_ON_RESUME

R = TypeVar("R", bound=RecordedRun)


def by_seed(runs: Sequence[R]) -> list[tuple[str, tuple[R, ...]]]:
    """Group runs that differ only in their seeds. The groups are ordered by their first runs.

    Every run is in exactly one group. Runs with different live changes are in different groups. If several runs have
    the same settings and the same seed, the group contains only the last of these runs, because a repetition is not a
    second seed. Each of the earlier ones forms its own group.

    Returns:
        The label and the runs of each group.
    """
    alike: dict[Hashable, dict[int, R]] = defaultdict(dict)
    for run in runs:
        alike[run.same_tasks, apart_from_seed(run)][run.settings.training.seed] = run
    groups = [tuple(seeds.values()) for seeds in alike.values()]
    first = [group[0] for group in groups]
    names = labels(
        [run.run for run in first], [without_seed(run.settings) for run in first], [run.title for run in first]
    )
    found = [(name if len(group) > 1 else group[0].label, group) for name, group in zip(names, groups, strict=True)]
    grouped = {id(run) for _, group in found for run in group}
    found += [(run.label, (run,)) for run in runs if id(run) not in grouped]
    position = {id(run): number for number, run in enumerate(runs)}
    return sorted(found, key=lambda each: min(position[id(run)] for run in each[1]))


def seed_groups(runs: Sequence[RunResult]) -> tuple[SeedGroup, ...]:
    """Return the groups of `by_seed` with their statistics across seeds."""
    return tuple(
        SeedGroup(
            label=label,
            runs=group,
            loss=_over_seeds([run.evaluation.loss.mean for run in group]),
            accuracy=_over_seeds([run.evaluation.accuracy.mean for run in group if run.evaluation.accuracy])
            if group[0].evaluation.accuracy
            else None,
        )
        for label, group in by_seed(runs)
    )


def apart_from_seed(run: RecordedRun) -> Hashable:
    """Return a key of everything that determines how a run learns, except its seed.

    The key contains the initial settings and their changes. If the number of meta-steps was changed, only the final
    number counts, because the change does not affect the meta-steps themselves.
    """
    first: dict[str, Scalar] = {}
    made: dict[tuple[int, str], Scalar] = {}
    for each in run.training.changes if run.training else ():
        if each.path != "training.iterations" and FIELDS[each.path].group not in FREE_ON_RESUME:
            first.setdefault(each.path, each.old)
            made[each.at.iterations, each.path] = each.new  # a rerun repeats only the last of several changes
    return without_seed(change(run.settings, first)), frozenset(made.items())


def without_seed(settings: Settings) -> Settings:
    """Return the settings that determine how a run learns, without the seed and the compute settings."""
    same = {group: Settings.model_fields[group].default for group in FREE_ON_RESUME}
    return settings.model_copy(update={**same, "training": settings.training.model_copy(update={"seed": 0})})


def _over_seeds(means: Sequence[Sequence[float]]) -> SeedCurve:
    """Return statistics across seeds at each inner step.

    Args:
        means: mean result of each run after each inner step, of shape [runs, steps + 1].
    """
    from metatui.learning.evaluation.statistics import sample_summary

    steps = [sample_summary(values) for values in zip(*means, strict=True)]
    return SeedCurve(
        seeds=steps[-1].size,
        mean=tuple(step.mean for step in steps),
        deviation=tuple(step.deviation for step in steps),
        ci95=tuple(step.ci95 for step in steps),
    )
