"""The benchmark's plot as a widget."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text
from textual.widgets import Static

from metatui.learning.benchmark import ENGINES, Measurement, described
from metatui.tui.screens.benchmark import plot
from metatui.tui.screens.benchmark.table import colour
from metatui.tui.terminal.symbols import GLYPHS
from metatui.tui.widgets.charts.chart_theme import symbols_of
from metatui.tui.widgets.static_text import shown_in


class BenchmarkChart(Static):
    """Milliseconds of each engine and the floor, for the works of one task."""

    DEFAULT_CSS = """
    BenchmarkChart {
        height: 10; border-top: solid $foreground 30%; border-title-color: $foreground; border-title-style: bold;
        &:ansi { border-top: solid ansi_bright_black; }
    }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self._found: Sequence[Measurement] = ()

    def show(self, task: str, found: Sequence[Measurement]) -> None:
        """Draw the measurements of one task."""
        self.border_title = shown_in(self, f" {task}: {described(task)} ")
        self._found = found
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        glyphs = GLYPHS[symbols_of(self)]
        drawn = plot.plot(self._found, self.size.width, glyphs)
        styles = {engine: colour(i, self.app) + Style(bold=True) for i, engine in enumerate(ENGINES)}
        styles |= {plot.MUTED: Style(dim=True), plot.FLOOR: Style(bold=True), "": Style()}
        lines = [
            Text.assemble(*((piece.text, styles[piece.meaning]) for piece in row), no_wrap=True, overflow="crop")
            for row in ([plot.legend(self._found, glyphs), *drawn] if drawn else ())
        ]
        self.update(Text("\n").join(lines))
