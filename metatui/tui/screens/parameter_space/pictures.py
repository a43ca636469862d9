"""The clouds as charts, and what is seen in them in words."""

from __future__ import annotations

import math

from metatui.learning.evaluation.trajectories import AdaptationTrajectories, mean
from metatui.runs.analysis.parameter_space import ParameterSpace, Start
from metatui.tui import palette
from metatui.tui.terminal.symbols import GLYPHS, Symbols
from metatui.tui.widgets.charts.axis import axis_for
from metatui.tui.widgets.charts.chart_renderer import Picture
from metatui.tui.widgets.charts.format import number
from metatui.tui.widgets.charts.series import Series

LEARNED, ORDINARY = "hue-blue", "hue-orange"
TICKS = 4
MARKERS = len(GLYPHS[Symbols.ASCII].lines)


def pictures(space: ParameterSpace) -> tuple[Picture, Picture]:
    """The meta-learned initialisation and the ordinary one, on the same axes."""
    clouds = (space.learned.cloud, space.ordinary.cloud)
    places = [place for cloud in clouds for path in cloud.paths for place in path if all(map(math.isfinite, place))]
    limits = []
    for axis in (0, 1):
        found = axis_for((place[axis] for place in places), TICKS)
        limits.append((found.low, found.high) if found else (-1.0, 1.0))
    return (
        _picture(space.learned, LEARNED, limits[0], limits[1]),
        _picture(space.ordinary, ORDINARY, limits[0], limits[1]),
    )


def _picture(start: Start, colour: str, across: tuple[float, float], up: tuple[float, float]) -> Picture:
    cloud = start.cloud
    first, second = (100 * share for share in cloud.explained)
    # A line's character goes by its position where colours cannot tell: all paths have that of the first.
    gap = [Series("", "", ())] * (MARKERS - 1)
    paths = [
        series
        for number, path in enumerate(cloud.paths)
        for series in (Series("" if number else "steps", palette.BEFORE, path), *gap)
    ]
    return Picture(
        (
            *paths,
            Series("tasks", colour, [path[-1] for path in cloud.paths], style="points"),
            Series("start", palette.TRUTH, [(0.0, 0.0)], style="points"),
        ),
        title=start.label,
        x_label=f"component 1 ({first:.0f} % of variance)",
        y_label=f"component 2 ({second:.0f} %)",
        x_limits=across,
        y_limits=up,
        last_values=False,
    )


def sentences(space: ParameterSpace) -> list[str]:
    """What is seen, the most important first."""
    learned, ordinary = space.learned, space.ordinary
    rate = space.settings.algorithm.inner_lr
    steps = f"{space.steps} inner step{'' if space.steps == 1 else 's'}"
    said = [
        f"{space.tasks} held-out test tasks, {steps} each at α = {rate:g}, in a space of "
        f"{learned.cloud.parameters:,} dimensions.",
        f"{learned.label}: {_moves(learned.cloud)}",
        f"Ordinary: {_moves(ordinary.cloud)}",
    ]
    if space.settings.algorithm.name == "scratch":
        said.append("Scratch learns nothing before it adapts, so both are the same.")
    elif ratio := _ratio(learned.cloud, ordinary.cloud):
        said.append(ratio)
    shares = " and ".join(f"{100 * sum(start.cloud.explained):.0f} %" for start in (learned, ordinary))
    said.append(
        "Each picture shows the two directions in which its own end points differ most, which have "
        f"{shares} of their variance; the scale is the same. Distances are in all dimensions. The start is at (0, 0)."
    )
    return said


def _moves(cloud: AdaptationTrajectories) -> str:
    return (
        f"tasks move it by {number(mean(cloud.moved))} on average, "
        f"and their loss goes from {number(mean(cloud.before))} to {number(mean(cloud.after))}."
    )


def _ratio(learned: AdaptationTrajectories, ordinary: AdaptationTrajectories) -> str:
    """How much a unit of the way gains or loses from each; empty where that is no number."""
    gains = [mean(cloud.gained) / mean(cloud.moved) if mean(cloud.moved) else math.nan for cloud in (learned, ordinary)]
    if not all(map(math.isfinite, gains)):
        return ""
    said = [f"{'falls' if gain >= 0 else 'rises'} by {number(abs(gain))}" for gain in gains]
    return (
        f"For each unit of distance the loss {said[0]} from the meta-learned initialisation, and {said[1]} from the "
        "ordinary one."
    )
