"""Figures of a comparison, drawn with matplotlib: training, adaptation, results and costs.

A given comparison always produces the same SVG, byte for byte. matplotlib is imported when the first figure is drawn.
"""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from metatui.events import Curve
from metatui.runs.analysis.comparison import formatting
from metatui.runs.analysis.comparison.formatting import changes_in_training, intervals, protocol_words, seconds
from metatui.runs.analysis.comparison.labels import measured_in, values_of
from metatui.runs.analysis.comparison.values import Comparison, RunResult
from metatui.utils.text import format_count, sanitize

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Colours that colour-blind people can distinguish (Okabe and Ito 2008)."""

DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", (0, (4, 2)), (0, (1, 1)), (0, (5, 2, 1, 2)))
"""Line styles. The next line style is used when all colours have been used with the previous one."""

WIDTH, HEIGHT = 5.4, 3.4
"""Width and height of one panel in inches."""

TITLE_WIDTH = 130
"""Maximum number of characters in a line of the title of the figure of a whole comparison."""

NOTE_WIDTH = 75
"""Maximum number of characters in a line of the note of a panel."""

NAME_WIDTH = 24
"""Maximum number of characters in a line of the name of a bar. Names longer than three times this are shortened."""

CHARACTER = 0.075
"""Approximate width of a character in inches."""

MARK_ROWS = 4
"""Number of rows for the labels of marks. Labels of adjacent marks do not overlap: they are in different rows."""

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "axes.titleweight": "bold",
    "font.size": 9,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType; publishers refuse matplotlib's default, Type 3
    "savefig.dpi": 150,
    "savefig.transparent": False,
    "svg.fonttype": "none",  # keep text as text, so that it can be searched and files are small
    "svg.hashsalt": "metatui",
    "text.parse_math": False,  # a $ in the name of a run is literal
}

Against = Literal["iterations", "tasks", "seconds"]
AGAINST: dict[Against, str] = {"iterations": "meta-steps", "tasks": "tasks seen", "seconds": "seconds of training"}
AGAINST_TITLE: dict[Against, str] = {"iterations": "meta-steps", "tasks": "tasks seen", "seconds": "time"}
"""Names of the quantities in `AGAINST` as they are written in the title of a panel."""

PANELS = ("training", "training-tasks", "training-seconds", "validation", "adaptation", "result", "time")
"""Names of all panels that a comparison can have."""

Format = Literal["svg", "png", "pdf"]


@dataclass(frozen=True)
class Series:
    """A line, optionally with a band around it; values that are not finite appear as gaps."""

    x: Sequence[float]
    y: Sequence[float]
    half: Sequence[float] | None = None
    """Half-width of the band at each point."""
    colour: int = 0
    """Index of the colour."""


@dataclass(frozen=True)
class Mark:
    """A labelled vertical line at `x`, for example at a live change of one of the series."""

    x: float
    label: str
    colour: int
    """Index of the colour of the marked series."""


@dataclass(frozen=True)
class Panel:
    """Content of one figure, or of one part of the figure of the whole comparison."""

    name: str
    """Name of the panel, one of `PANELS`, unique in a comparison and used in file names."""
    title: str
    draw: Callable[[Axes], None]
    legend: bool = True
    """Whether the figure needs a legend that shows the colours of the runs."""
    note: str = ""
    """Text below the x axis, for example on how the curves were measured."""


def comparison_figure(comparison: Comparison, kind: Format) -> bytes:
    """Draw all panels in one figure with a legend and the protocol."""
    from matplotlib.figure import Figure

    shown = panels(comparison)
    rows = -(-len(shown) // 2)
    with _style():
        figure = Figure(figsize=(2 * WIDTH, rows * HEIGHT + 0.6), layout="constrained")
        axes = list(figure.subplots(rows, 2, squeeze=False).flat)
        for panel, ax in zip(shown, axes, strict=False):
            _draw(panel, ax)
        for ax in axes[len(shown) :]:
            ax.set_axis_off()
        lines = [f"{protocol_words(comparison)}; {intervals(comparison)}"]
        if differences := comparison.protocol.differences:
            lines.append(f"the runs specify different protocols: {'; '.join(differences)}")
        lines += changes_in_training(comparison)
        title = "\n".join(part for line in lines for part in textwrap.wrap(line, TITLE_WIDTH))
        _legend(figure, comparison, title)
        return _saved(figure, kind, "metatui compare")


def panel_figure(panel: Panel, comparison: Comparison) -> bytes:
    """Draw one panel as a separate SVG figure."""
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        _draw(panel, figure.subplots())
        if panel.legend:
            _legend(figure, comparison)
        return _saved(figure, "svg", panel.title)


def panels(comparison: Comparison) -> list[Panel]:
    """Return the panels of a comparison (training, validation, adaptation, result, time), except empty ones."""
    all_panels = (
        training(comparison),
        validation(comparison),
        adaptation(comparison),
        result(comparison),
        step_time(comparison),
    )
    return [panel for panel in all_panels if panel is not None]


def training(comparison: Comparison, *, against: Against = "iterations") -> Panel | None:
    """Return a panel that plots the smoothed training curves and marks live changes; None if no run was trained."""
    spans = [run.training.span for run in comparison.runs if run.training]
    if not spans:
        return None
    accuracy = comparison.metric == "accuracy"
    series: list[Series] = []
    marks: list[Mark] = []
    groups = _groups(comparison)
    for number, (_, runs, _) in enumerate(groups):
        for run in runs:
            if (curve := run.training) is None:
                continue
            marks += [Mark(getattr(change.at, against), change.label, number) for change in curve.changes]
            unknown = (math.nan,) * len(curve.iterations)  # of an algorithm that measures no accuracy in training
            y = tuple(100 * v for v in curve.accuracy or unknown) if accuracy else curve.meta_loss
            series.append(Series(getattr(curve, against), y, colour=number))
    title = f"Training against {AGAINST_TITLE[against]}, smoothed over {format_count(spans[0], 'meta-step')}"
    y_label = "query accuracy, %" if accuracy else "meta-loss"
    name = "training" if against == "iterations" else f"training-{against}"
    in_training, in_validation = measured_in([runs[0].settings for _, runs, _ in groups])
    names = [label for label, _, _ in groups]
    # Curves that are not measured in the same way must not be compared.
    differ = len({*in_training, *in_validation}) > 1
    note = f"training protocol: {values_of(names, _without_commas(in_training))}" if differ else ""
    return Panel(name, title, _lines(series, AGAINST[against], y_label, log=not accuracy, marks=marks), note=note)


def validation(comparison: Comparison) -> Panel | None:
    """Return a panel that plots the results of validations against meta-steps; None if there are no validations."""
    if not any(run.validation.iterations for run in comparison.runs):
        return None
    groups = _groups(comparison)
    series = [
        _scaled(comparison, run.validation.iterations, run.validation.mean, run.validation.ci95, number)
        for number, (_, runs, _) in enumerate(groups)
        for run in runs
    ]
    in_training, measured = measured_in([runs[0].settings for _, runs, _ in groups])
    names = [label for label, _, _ in groups]
    # The protocol is stated in the same cases as in the panel of training curves.
    differ = len({*in_training, *measured}) > 1
    note = f"validation protocol: {values_of(names, _without_commas(measured))}" if differ else ""
    draw = _metric_lines(comparison, series, "meta-steps")
    return Panel("validation", "Validation during training, with 95 % intervals over tasks", draw, note=note)


def adaptation(comparison: Comparison) -> Panel:
    """Return a panel that plots the adaptation curves on held-out tasks, with 95 % intervals across seeds or tasks."""
    series = []
    for number, (_, runs, curve) in enumerate(_groups(comparison)):
        series.append(_scaled(comparison, runs[0].evaluation.steps, curve.mean, curve.ci95, number))
    title = f"Adaptation on held-out tasks ({comparison.protocol.split} split)"
    return Panel("adaptation", title, _metric_lines(comparison, series, "inner step"))


def result(comparison: Comparison) -> Panel:
    """Return a bar chart of the metric after the last inner step, with 95 % intervals across seeds or tasks."""
    accuracy = comparison.metric == "accuracy"
    scale = 100 if accuracy else 1
    bars: list[tuple[str, float, float, str, int]] = []
    for label, runs, curve in _groups(comparison):
        mean, half = curve.mean[-1], curve.ci95[-1]
        several = len(runs) > 1
        metric = comparison.metric
        words = formatting.amount(metric, mean, half) if several else formatting.result(metric, runs[0].evaluation)
        bars.append((label, scale * mean, scale * half, words, len(bars)))
    title = f"{comparison.metric.capitalize()} {formatting.after_steps(comparison)}"
    return Panel("result", title, _bars(bars, "accuracy, %" if accuracy else "loss"), legend=False)


def step_time(comparison: Comparison) -> Panel | None:
    """Return a bar chart of the time per meta-step; None if no run was trained."""
    times = [run.costs.seconds_per_step for run in comparison.runs]
    if not any(times):
        return None
    bars = [
        (run.label, 1e3 * step if step else math.nan, 0.0, seconds(step) if step else "not trained", number)
        for number, (_, runs, _) in enumerate(_groups(comparison))
        for run in runs
        for step in (run.costs.seconds_per_step,)
    ]
    return Panel("time", "Time per meta-step", _bars(bars, "ms"), legend=False)


def _groups(comparison: Comparison) -> list[tuple[str, Sequence[RunResult], Curve]]:
    """Return the label, the runs and the adaptation curve of each group of runs that is drawn in one colour."""
    if comparison.groups:
        return [(group.name, group.runs, group.curve(comparison.metric)) for group in comparison.groups]
    return [(run.label, (run,), run.evaluation.accuracy or run.evaluation.loss) for run in comparison.runs]


def _without_commas(measured: Sequence[str]) -> list[str]:
    """Replace the commas in the results of `measured_in`, because `values_of` separates values with commas."""
    return [text.replace(", ", " and ") or "unchanged" for text in measured]


def _scaled(
    comparison: Comparison, x: Sequence[float], mean: Sequence[float], half: Sequence[float], colour: int
) -> Series:
    scale = 100 if comparison.metric == "accuracy" else 1
    return Series(x, [scale * v for v in mean], [scale * v for v in half], colour)


def _metric_lines(comparison: Comparison, series: Sequence[Series], x_label: str) -> Callable[[Axes], None]:
    accuracy = comparison.metric == "accuracy"
    return _lines(series, x_label, "accuracy, %" if accuracy else "loss", log=not accuracy)


def _lines(
    series: Sequence[Series], x_label: str, y_label: str, *, log: bool, marks: Sequence[Mark] = ()
) -> Callable[[Axes], None]:
    """Return a function that draws `series`.

    The y axis is logarithmic if `log` is True and the largest value is more than ten times the smallest.
    """

    def draw(ax: Axes) -> None:
        import numpy as np
        from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

        y = [np.asarray(s.y, float) for s in series]
        every = np.concatenate([v[np.isfinite(v)] for v in y])
        floor = -math.inf
        if log and len(every) and every.min() > 0 and every.max() > 10 * every.min():
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_minor_locator(NullLocator())
            floor = every.min() / 2  # a band may reach below zero, which a logarithmic axis cannot show
        for s, values in zip(series, y, strict=True):
            colour, dash = _colour(s.colour), _dash(s.colour)
            marker = "o" if len(s.x) <= 25 else ""
            ax.plot(s.x, np.where(np.isfinite(values), values, math.nan), marker, ls=dash, color=colour, ms=3)
            if s.half is not None:
                half = np.nan_to_num(np.asarray(s.half, float), nan=0.0, posinf=0.0)
                low: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = np.maximum(values - half, floor)
                if len(s.x) > 1:
                    ax.fill_between(s.x, low, values + half, color=colour, alpha=0.15, lw=0)
                elif len(s.x) == 1 and np.isfinite(values).all():
                    ax.errorbar(s.x, values, yerr=[values - low, half], color=colour, capsize=3, lw=1.2)
        places = {at for s in series for at in s.x}
        if len(places) == 1 and max(places) > 0:
            ax.set_xlim(0, 1.05 * max(places))
        _draw_marks(ax, marks)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(tick_text)
        if x_label != AGAINST["seconds"]:
            first, end = (0 if len(places) == 1 else min(places), max(places)) if places else (0, 1)
            whole = MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]).tick_values(first, end)
            ax.set_xticks([tick for tick in whole if first <= tick <= end])  # no tick beyond the last step
        ax.set(xlabel=x_label, ylabel=y_label)

    return draw


def _draw_marks(ax: Axes, marks: Sequence[Mark]) -> None:
    low, high = ax.get_xlim()
    for number, mark in enumerate(mark for mark in marks if low <= mark.x <= high):
        left = mark.x < (low + high) / 2
        ax.axvline(mark.x, color=_colour(mark.colour), ls=(0, (3, 3)), lw=1)
        ax.annotate(
            mark.label,
            (mark.x, 1 - 0.07 * (number % MARK_ROWS)),
            xycoords=("data", "axes fraction"),
            xytext=(3 if left else -3, -2),
            textcoords="offset points",
            va="top",
            ha="left" if left else "right",
            size="small",
        )


def _bars(bars: Sequence[tuple[str, float, float, str, int]], x_label: str) -> Callable[[Axes], None]:
    """Return a function that draws horizontal bars from zero.

    Args:
        bars: name, value, half-width of the interval (0 if there is no interval), text at the end, and index of the
            colour of each bar.
    """

    def draw(ax: Axes) -> None:
        lines = [textwrap.wrap(sanitize(name, limit=3 * NAME_WIDTH), NAME_WIDTH) for name, *_ in bars]
        inches = WIDTH - CHARACTER * (max((len(line) for name in lines for line in name), default=0) + 4)
        room: list[float] = []  # for each bar, the limit of the axis with which its text stays within the axes
        for row, (_, value, half, text, colour) in enumerate(bars):
            value, half = (v if math.isfinite(v) else 0.0 for v in (value, half))
            ax.barh(row, value, height=min(0.7, 0.2 * len(bars)), color=_colour(colour), alpha=0.75)
            if half:
                ax.errorbar(value, row, xerr=half, color="#333333", capsize=3, lw=1.2)
            ax.annotate(text, (value + half, row), xytext=(5, 0), textcoords="offset points", va="center")
            room.append((value + half) / max(0.4, 1 - CHARACTER * (len(text) + 1) / inches))
        ax.set_yticks(range(len(bars)), ["\n".join(name) for name in lines])
        ax.grid(visible=False, axis="y")
        ax.set_ylim(len(bars) - 0.5, -0.5)
        ax.set_xlim(0, max([ax.get_xlim()[1], *room]))
        ax.xaxis.set_major_formatter(tick_text)
        ax.set(xlabel=x_label)

    return draw


def _draw(panel: Panel, ax: Axes) -> None:
    panel.draw(ax)
    ax.set_title(panel.title)
    if panel.note:
        ax.set_xlabel("\n".join([ax.get_xlabel(), *textwrap.wrap(sanitize(panel.note, limit=1000), NOTE_WIDTH)]))


def _legend(figure: Figure, comparison: Comparison, title: str | None = None) -> None:
    from matplotlib.lines import Line2D

    names = [sanitize(label) for label, _, _ in _groups(comparison)]
    handles = [Line2D([], [], color=_colour(number), ls=_dash(number)) for number in range(len(names))]
    columns = max(1, int(figure.get_figwidth() * 12) // (max(map(len, names)) + 6))
    figure.legend(
        handles,
        names,
        loc="outside upper left",
        ncols=columns,
        title=title,
        alignment="left",
        title_fontproperties={"weight": "bold"},
    )


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _dash(number: int) -> str | tuple[int, tuple[int, ...]]:
    return DASHES[number // len(COLOURS) % len(DASHES)]


def tick_text(value: float, _: object = None) -> str:
    """Format the label of a tick: `0.3`, `1500`, `20k`, `3M`."""
    for least, scale, suffix in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / scale:.6g}{suffix}"
    return f"{round(value, 10):.6g}"


@contextmanager
def _style() -> Iterator[None]:
    """Use the style of metatui's figures, regardless of the user's matplotlibrc."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # for example, warnings about characters that the font lacks
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def _saved(figure: Figure, kind: Format, title: str) -> bytes:
    """Return the contents of an image file of the figure, without its creation date."""
    metadata: dict[Format, dict[str, str | None]] = {
        "svg": {"Title": title, "Date": None, "Creator": None, "Format": None, "Type": None},
        "png": {"Title": title},
        "pdf": {"Title": title, "CreationDate": None},
    }
    file = io.BytesIO()
    figure.savefig(file, format=kind, metadata=metadata[kind])
    data = file.getvalue()
    return data[data.index(b"<svg") :] if kind == "svg" else data  # without the document type, which contains a URL
