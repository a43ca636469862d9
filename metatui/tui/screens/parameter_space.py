"""Screen that shows how adaptation moves parameters from a meta-learned and an ordinary (random) initialisation."""

from __future__ import annotations

import math
from functools import partial
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from metatui.config.fields import FIELDS
from metatui.learning.evaluation.trajectories import AdaptationTrajectories, mean
from metatui.runs.analysis.parameter_space import ParameterSpace, ProjectionProgress, Start, project_stepwise
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.colors import palette
from metatui.tui.screens.analysis_screen import AnalysisScreen
from metatui.tui.terminal.symbols import GLYPHS, Symbols
from metatui.tui.widgets.charts import ChartData, LineChart, Series, number
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row
from metatui.tui.widgets.key_line import Key, KeyLine
from metatui.tui.widgets.scroll_view import ScrollView, paragraph
from metatui.tui.widgets.static_text import StaticText
from metatui.utils.text import format_count

KEYS: Final = (Key("n", "Other picture", "other"), Key("Esc", "Close", "dismiss"))
BOTH_FROM: Final = 100
"""Minimum width of the terminal at which both charts are shown."""

LEARNED_COLOUR, ORDINARY_COLOUR = "hue-blue", "hue-orange"
LINE_MARKERS = len(GLYPHS[Symbols.ASCII].lines)


class ParameterScreen(AnalysisScreen[None]):
    """Adapts from the meta-learned initialisation of `run` and from a random one, and shows the paths in a plane."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Close", tooltip="Close the parameter space."),
        Binding(
            "n,b,left,right,space",
            "other",
            "Other picture",
            tooltip="If there is room for only one chart, switch between the two initialisations.",
        ),
    ]
    DEFAULT_CSS = """
    ParameterScreen { layout: vertical; background: $background; }
    ParameterScreen #parameters-title { padding: 0 1; text-style: bold; }
    ParameterScreen Horizontal { height: 1fr; }
    ParameterScreen LineChart { width: 1fr; padding: 0 1; }
    ParameterScreen ScrollView { height: 8; padding: 0 1; border-top: solid $foreground 30%; }
    ParameterScreen ScrollView:ansi { border-top: solid ansi_bright_black; }
    """

    def __init__(self, run: RunFolder) -> None:
        super().__init__()
        self._run = run
        self._ordinary_first = False
        """True to show the ordinary initialisation if there is room for only one chart."""
        self.space: ParameterSpace | None = None

    def compose(self) -> ComposeResult:
        yield StaticText(f"Parameter space of {self._run.id}", id="parameters-title")
        with Horizontal():
            yield LineChart(id="parameters-learned")
            yield LineChart(id="parameters-ordinary")
        yield ScrollView()
        yield KeyLine(KEYS)

    def on_mount(self) -> None:
        self._lay_out()
        self.query_one(ScrollView).focus()
        self.start_analysis(partial(project_stepwise, self._run))
        self._show_text("Loading torch, which takes a few seconds, and reading the run.")

    def on_resize(self) -> None:
        if self.is_mounted:
            self._lay_out()

    def action_other(self) -> None:
        self._ordinary_first = not self._ordinary_first
        self._lay_out()

    def show_progress(self, progress: ProjectionProgress) -> None:
        self._show_text(f"Adapting from both initialisations: {progress.done} of {progress.of} adaptations.")

    def show_result(self, result: ParameterSpace) -> None:
        self.space = result
        for chart, data in zip(self.query(LineChart), charts(result), strict=True):
            chart.show(data)
        self._show_text(*sentences(result))

    def show_failure(self, reason: str) -> None:
        self._show_text(f"Not computed: {reason}.")

    def _show_text(self, *paragraphs: str) -> None:
        def page(width: int, theme: ChartTheme) -> list[Row]:
            return [row for text in paragraphs for row in paragraph(text, width, theme, theme.text)]

        self.query_one(ScrollView).show(page)

    def _lay_out(self) -> None:
        both = self.app.size.width >= BOTH_FROM
        self.query_one("#parameters-learned").display = both or not self._ordinary_first
        self.query_one("#parameters-ordinary").display = both or self._ordinary_first
        self.query_one(KeyLine).keys = KEYS[both:]


def charts(space: ParameterSpace) -> tuple[ChartData, ChartData]:
    """Return charts of the meta-learned and the ordinary initialisation, with the same axes."""
    clouds = (space.learned.cloud, space.ordinary.cloud)
    points = [point for cloud in clouds for path in cloud.paths for point in path if all(map(math.isfinite, point))]
    limits = []
    for dimension in (0, 1):
        values = [point[dimension] for point in points]
        limits.append((min(values), max(values)) if values else (-1.0, 1.0))
    return _chart(space.learned, LEARNED_COLOUR, *limits), _chart(space.ordinary, ORDINARY_COLOUR, *limits)


def _chart(start: Start, colour: str, x_limits: tuple[float, float], y_limits: tuple[float, float]) -> ChartData:
    cloud = start.cloud
    first, second = (100 * share for share in cloud.explained)
    # Without colours, series cycle through LINE_MARKERS characters. Empty series give all paths the same character.
    gap = [Series("", "", ())] * (LINE_MARKERS - 1)
    paths = [
        series
        for index, path in enumerate(cloud.paths)
        for series in (Series("" if index else "steps", palette.BEFORE, path), *gap)
    ]
    return ChartData(
        (
            *paths,
            Series("tasks", colour, [path[-1] for path in cloud.paths], style="points"),
            Series("start", palette.TRUTH, [(0.0, 0.0)], style="points"),
        ),
        title=start.label,
        x_label=f"component 1 ({first:.0f} % of variance)",
        y_label=f"component 2 ({second:.0f} %)",
        x_limits=x_limits,
        y_limits=y_limits,
        last_values=False,
    )


def sentences(space: ParameterSpace) -> list[str]:
    """Return sentences about the charts, the most important facts first."""
    learned, ordinary = space.learned, space.ordinary
    rate = space.settings.algorithm.inner_lr
    steps = format_count(space.steps, "inner step")
    lines = [
        f"{space.tasks} held-out test tasks, {steps} each at α = {rate:g}, in a space of "
        f"{learned.cloud.parameters:,} dimensions.",
        f"{learned.label}: {_distance_and_loss(learned.cloud)}",
        f"Ordinary: {_distance_and_loss(ordinary.cloud)}",
    ]
    if not FIELDS["training.iterations"].is_relevant(space.settings):
        lines.append(f"{learned.label} learns nothing before it adapts, so both initialisations are the same.")
    elif sentence := _loss_per_distance(learned.cloud, ordinary.cloud):
        lines.append(sentence)
    shares = " and ".join(f"{100 * sum(start.cloud.explained):.0f} %" for start in (learned, ordinary))
    lines.append(
        "Each chart shows the two directions in which its end points vary most. They explain "
        f"{shares} of the variance. Both charts have the same scale. Distances are measured in all dimensions. "
        "The start is at (0, 0)."
    )
    return lines


def _distance_and_loss(cloud: AdaptationTrajectories) -> str:
    return (
        f"adaptation moves the parameters by {number(mean(cloud.moved))} on average, "
        f"and the loss goes from {number(mean(cloud.before))} to {number(mean(cloud.after))}."
    )


def _loss_per_distance(learned: AdaptationTrajectories, ordinary: AdaptationTrajectories) -> str:
    """Return a sentence that compares the initialisations: how much the loss changes per unit of distance moved.

    The sentence is empty if either change is not finite.
    """
    gains = [mean(cloud.gained) / mean(cloud.moved) if mean(cloud.moved) else math.nan for cloud in (learned, ordinary)]
    if not all(map(math.isfinite, gains)):
        return ""
    first, second = (f"{'falls' if gain >= 0 else 'rises'} by {number(abs(gain))}" for gain in gains)
    return (
        f"For each unit of distance, the loss {first} from the meta-learned initialisation, and {second} from the "
        "ordinary one."
    )
