"""The rows above the drawings: what is looked at, and at which rates."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment

from metatui.learning.evaluation.custom_tasks import ChosenClasses, Wave
from metatui.runs.analysis.explore import Explored
from metatui.tui.screens.explorer.query import ExplorerQuery
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget, fitted, spread


class Head(RowsWidget):
    """Two rows; at the right end of the first whether what is seen is what was asked for."""

    DEFAULT_CSS = "Head { height: 2; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._asking = ExplorerQuery()
        self._seen: Sequence[Explored] = ()
        self._state = ""

    def show(self, asking: ExplorerQuery, seen: Sequence[Explored], state: str) -> None:
        self._asking, self._seen, self._state = asking, seen, state
        self.redraw()

    def rows(self, width: int, height: int, look: ChartTheme) -> list[Row]:
        state, ellipsis = look.say(self._state), look.glyphs.ellipsis
        what = fitted(look.say(task_words(self._asking)), max(0, width - len(state) - 2), ellipsis)
        rates = fitted(look.say(rate_words(self._seen)), width, ellipsis)
        return [spread([Segment(what, look.title)], [Segment(state, look.muted)], width), [Segment(rates, look.text)]]


def task_words(asking: ExplorerQuery) -> str:
    match asking.drawn:
        case Wave() as wave:
            beyond = "" if wave.trained_on else ", beyond what was trained on"
            return f"Drawn: A = {wave.amplitude:.2f}, φ = {wave.phase:.2f}{beyond}; points of task {asking.task}"
        case ChosenClasses(text):
            return f"Chosen classes {text}; images of task {asking.task}"
        case None:
            return f"Held-out test task {asking.task}"


def rate_words(seen: Sequence[Explored]) -> str:
    """`Inner rate 0.0125 (validated with 0.01)`, for each run where they are not alike."""
    if not seen:
        return ""
    pairs = {(each.inner_lr, each.own_lr) for each in seen}
    if len(pairs) == 1:
        return f"Inner rate {_rate(seen[0])}"
    return f"Inner rates: {', '.join(f'{each.label} {_rate(each)}' for each in seen)}"


def _rate(each: Explored) -> str:
    now = f"{each.inner_lr:.3g}"
    return now if each.inner_lr == each.own_lr else f"{now} (validated with {each.own_lr:g})"
