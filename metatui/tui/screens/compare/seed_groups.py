"""Which runs of a comparison are drawn alike: those of the same settings, whatever seed they are from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metatui.runs.analysis.comparison import Comparison, RunResult
from metatui.runs.analysis.comparison.pairwise_tests import seed_groups
from metatui.tui import palette


@dataclass(frozen=True)
class Kind:
    """One run, or the runs of one setting from several seeds, which is all that tells them apart."""

    label: str
    colour: str
    """A meaning in the palette: with as few hues as eyes can tell apart, one for each run would not last long."""
    runs: Sequence[RunResult]


def kinds(comparison: Comparison) -> list[Kind]:
    """In the order of their first runs."""
    seeds = [(f"{group.label} ({len(group.runs)} seeds)", group.runs) for group in seed_groups(comparison.runs)]
    grouped = [run for _, runs in seeds for run in runs]
    found = [*seeds, *((run.label, (run,)) for run in comparison.runs if run not in grouped)]
    found.sort(key=lambda kind: comparison.runs.index(kind[1][0]))
    return [
        Kind(label, palette.RUN_HUES[number % len(palette.RUN_HUES)], runs)
        for number, (label, runs) in enumerate(found)
    ]


def colours(comparison: Comparison) -> list[str]:
    """Of each run, that of its kind."""
    found = {run: kind.colour for kind in kinds(comparison) for run in kind.runs}
    return [found[run] for run in comparison.runs]
