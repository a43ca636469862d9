"""A comparison as pictures: what was learned while training, adaptation, the result, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import escape

from metatui.runs.analysis.comparison import formatting
from metatui.runs.analysis.comparison.formatting import protocol_words, seconds
from metatui.runs.analysis.comparison.values import Comparison, RunResult
from metatui.runs.analysis.exports.svg_plot import INK, Mark, Series, bars, line, lines, style, text

WIDTH, HEIGHT = 480, 300
"""Of one panel, in pixels."""

Against = Literal["iterations", "tasks", "seconds"]
AGAINST: dict[Against, str] = {"iterations": "meta-steps", "tasks": "tasks seen", "seconds": "seconds of training"}


@dataclass(frozen=True)
class Panel:
    """One picture without its frame, WIDTH x HEIGHT pixels."""

    name: str
    """Of no other panel of a comparison; for names of files."""
    title: str
    elements: tuple[str, ...]
    legend: bool = True
    """Whether one has to be told which run has which colour."""

    def svg(self, runs: Sequence[RunResult]) -> str:
        """The picture as a document of its own."""
        legend, below = _legend(runs, WIDTH, 24) if self.legend else ([], 0.0)
        drawn = [*legend, f'<g transform="translate(0 {below})">', *self.elements, "</g>"]
        return document(drawn, WIDTH, below + HEIGHT, self.title)


def figure(comparison: Comparison) -> str:
    """All panels in one document, with legend and protocol."""
    shown = panels(comparison)
    width = 2 * WIDTH
    legend, below = _legend(comparison.runs, width, 48)
    drawn = [text(12, 24, f"{protocol_words(comparison)}; intervals are 95 %", bold=True), *legend]
    for number, panel in enumerate(shown):
        across, down = number % 2 * WIDTH, below + number // 2 * HEIGHT
        drawn += [f'<g transform="translate({across} {down})">', *panel.elements, "</g>"]
    return document(drawn, width, below + (len(shown) + 1) // 2 * HEIGHT, "metatui compare")


def panels(comparison: Comparison, *, against: Against = "iterations") -> list[Panel]:
    """The panels that there is something to show in, in this order: training, adaptation, result, time."""
    found = (training(comparison, against=against), adaptation(comparison), result(comparison), time(comparison))
    return [panel for panel in found if panel is not None]


def training(comparison: Comparison, *, against: Against = "iterations") -> Panel | None:
    """Smoothed training curves over each other; None where nothing was trained."""
    curves = [run.training for run in comparison.runs]
    spans = [curve.span for curve in curves if curve]
    if not spans:
        return None
    accuracy = comparison.metric == "accuracy"
    series: list[Series] = []
    marks: list[Mark] = []
    for curve in curves:
        if curve is None:
            series.append(Series((), ()))
            continue
        marks += [Mark(getattr(each.at, against), each.label, len(series)) for each in curve.changes]
        y = tuple(100 * v for v in curve.accuracy or ()) if accuracy else curve.meta_loss
        series.append(Series(getattr(curve, against), y))
    title = f"While training, smoothed over {spans[0]:,} meta-steps"
    y_label = "query accuracy, %" if accuracy else "meta-loss"
    drawn = lines(series, title=title, x_label=AGAINST[against], y_label=y_label, width=WIDTH, height=HEIGHT,
                  log=not accuracy, marks=marks)  # fmt: skip
    return Panel("training" if against == "iterations" else f"training-{against}", title, tuple(drawn))


def validation(comparison: Comparison) -> Panel | None:
    """The metric on validation tasks against meta-steps, with bands of 95 % intervals; None where none was made."""
    if not any(run.validation.iterations for run in comparison.runs):
        return None
    title = "Validations while training"
    accuracy = comparison.metric == "accuracy"
    scale = 100 if accuracy else 1
    series = []
    for run in comparison.runs:
        curve = run.validation
        series.append(Series(curve.iterations, [scale * v for v in curve.mean], [scale * v for v in curve.ci95]))
    y_label = "accuracy, %" if accuracy else "loss"
    drawn = lines(
        series, title=title, x_label="meta-steps", y_label=y_label, width=WIDTH, height=HEIGHT, log=not accuracy
    )
    return Panel("validation", title, tuple(drawn))


def adaptation(comparison: Comparison) -> Panel:
    """The metric against inner step on held-out tasks, with bands of 95 % intervals."""
    title = f"Adaptation on held-out tasks ({comparison.protocol.split} split)"
    accuracy = comparison.metric == "accuracy"
    series = []
    for run in comparison.runs:
        curve, scale = (run.evaluation.accuracy, 100) if accuracy else (run.evaluation.loss, 1)
        assert curve is not None
        series.append(Series(run.evaluation.steps, [scale * v for v in curve.mean], [scale * v for v in curve.ci95]))
    y_label = "accuracy, %" if accuracy else "loss"
    drawn = lines(
        series, title=title, x_label="inner step", y_label=y_label, width=WIDTH, height=HEIGHT, log=not accuracy
    )
    return Panel("adaptation", title, tuple(drawn))


def result(comparison: Comparison) -> Panel:
    """The metric after the last inner step, with its interval."""
    accuracy = comparison.metric == "accuracy"
    title = f"{comparison.metric.capitalize()} after {comparison.protocol.steps} inner steps"
    values = []
    for run in comparison.runs:
        mean, half = run.evaluation.final
        scale = 100 if accuracy else 1
        values.append((run.label, scale * mean, scale * half, formatting.result(comparison.metric, run.evaluation)))
    drawn = bars(values, title=title, x_label="accuracy, %" if accuracy else "loss", width=WIDTH, height=HEIGHT)
    return Panel("result", title, tuple(drawn), legend=False)


def time(comparison: Comparison) -> Panel | None:
    """Time of a meta-step; None where nothing was trained."""
    if not any(run.costs.seconds_per_step for run in comparison.runs):
        return None
    title = "Time of a meta-step"
    values = []
    for run in comparison.runs:
        took = run.costs.seconds_per_step
        values.append((run.label, 1e3 * took if took else math.nan, 0.0, seconds(took) if took else "none made"))
    drawn = bars(values, title=title, x_label="ms", width=WIDTH, height=HEIGHT)
    return Panel("time", title, tuple(drawn), legend=False)


def document(elements: Sequence[str], width: float, height: float, title: str) -> str:
    """A whole SVG file."""
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'font-family="system-ui, sans-serif" fill="{INK}" role="img">',
            f"<title>{escape(title)}</title>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            *elements,
            "</svg>\n",
        )
    )


def _legend(runs: Sequence[RunResult], width: int, top: int) -> tuple[list[str], int]:
    """A line and a name for each run, wrapped, and where the room below them begins."""
    drawn, across, down = [], 12.0, top
    for number, run in enumerate(runs):
        needed = 40 + 7.0 * len(run.label)
        if across + needed > width and across > 12:
            across, down = 12.0, down + 20
        colour, dash = style(number)
        drawn.append(line([(across, down - 4), (across + 24, down - 4)], colour, dash, width=2.5))
        drawn.append(text(across + 30, down, run.label))
        across += needed + 12
    return drawn, down + 16
