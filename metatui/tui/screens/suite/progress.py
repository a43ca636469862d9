"""What a suite is, in a few rows, and how far it is, in one."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment

from metatui.runs.suites import SuiteStanding
from metatui.runs.suites.status import words
from metatui.tui.screens.suite.cells import bar
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget, fitted
from metatui.tui.widgets.scroll_view import paragraph

LONGEST_BAR = 60


class Description(RowsWidget):
    """Paragraphs, cut with an ellipsis where they are longer than the room."""

    DEFAULT_CSS = """
    Description { height: 3; padding: 0 1; }
    .-high About { height: 7; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._paragraphs: Sequence[str] = ()

    def show(self, paragraphs: Sequence[str]) -> None:
        self._paragraphs = paragraphs
        self.redraw()

    def rows(self, width: int, height: int, look: ChartTheme) -> list[Row]:
        rows = [row for text in self._paragraphs for row in paragraph(text, width, look, look.muted)]
        if len(rows) > height > 0:
            ellipsis = look.glyphs.ellipsis
            (last,) = rows[height - 1]
            rows[height - 1] = [Segment(fitted(f"{last.text} {ellipsis}", width, ellipsis), look.muted)]
        return rows


class SuiteProgress(RowsWidget):
    """A bar over all runs, and how many of them are finished."""

    DEFAULT_CSS = "SuiteProgress { height: 2; padding: 1 1 0 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._suite = ""
        self._standing: SuiteStanding | None = None

    def show(self, name: str, standing: SuiteStanding | None) -> None:
        self._suite, self._standing = name, standing
        self.redraw()

    def rows(self, width: int, height: int, look: ChartTheme) -> list[Row]:
        if self._standing is None:
            return [[Segment(look.say(f"{self._suite}: reading its runs…"), look.muted)]] if self._suite else []
        said = look.say(words(self._standing))
        name = fitted(look.say(self._suite), max(8, width // 3), look.glyphs.ellipsis)
        room = min(LONGEST_BAR, width - len(name) - len(said) - 4)
        drawn = bar(self._standing.share, room, look.glyphs) if room >= 4 else ""
        done = drawn.rstrip(look.glyphs.todo)
        row = [
            Segment(f"{name}  ", look.title),
            Segment(done, look.colour("hue-blue")),
            Segment(drawn[len(done) :], look.muted),
            Segment(f"  {said}", look.text),
        ]
        return [row]
