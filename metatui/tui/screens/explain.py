"""Screen that explains an algorithm: idea, update rule, pseudo-code with the settings' values, costs, and paper."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Final

from rich.segment import Segment
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from metatui.config.fields import format_with_labels
from metatui.config.registry import ALGORITHMS
from metatui.config.settings import Settings
from metatui.config.usual import with_algorithm
from metatui.learning.explanations import Explanation, explanation
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, columns
from metatui.tui.widgets.key_line import Key, KeyLine, TabStrip
from metatui.tui.widgets.scroll_view import ScrollView, paragraph

KEYS: Final = (Key("n b", "Other algorithm", "other(1)"), Key("Esc", "Close", "dismiss"))
MAX_LINE_LENGTH: Final = 100
TWO_COLUMNS: Final = 130
"""Minimum width of a page with two columns."""
GAP: Final = 4


class ExplainScreen(ModalScreen[None]):
    """Explains the algorithm of `settings`, and the other algorithms with their usual values.

    The screen opens with `algorithm` or, if that is None, with the algorithm of `settings`.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,ctrl+g", "dismiss", "Close", tooltip="Close the explanation."),
        Binding("n,right", "other(1)", "Next algorithm", tooltip="Explain the next algorithm, with its usual values."),
        Binding(
            "b,left",
            "other(-1)",
            "Previous algorithm",
            tooltip="Explain the previous algorithm, with its usual values.",
        ),
    ]
    DEFAULT_CSS = """
    ExplainScreen { layout: vertical; background: $background; align: left top; }
    ExplainScreen Vertical { padding: 0 1; height: 1fr; }
    ExplainScreen TabStrip { margin-bottom: 1; }
    """

    def __init__(self, settings: Settings, algorithm: str | None = None) -> None:
        super().__init__()
        self._settings = settings
        self.algorithm: str = algorithm or settings.algorithm.name
        self._names = tuple(algorithm.name for algorithm in ALGORITHMS.components())

    def compose(self) -> ComposeResult:
        with Vertical():
            yield TabStrip(self._names, action="algorithm")
            yield ScrollView()
        yield KeyLine(KEYS)

    def on_mount(self) -> None:
        self.query_one(ScrollView).focus()
        self.action_algorithm(self.algorithm)

    def action_other(self, by: int) -> None:
        self.action_algorithm(self._names[(self._names.index(self.algorithm) + by) % len(self._names)])

    def action_algorithm(self, name: str) -> None:
        """Explain the named algorithm."""
        self.algorithm = name
        self.query_one(TabStrip).selected = name
        # Settings such as Reptile's outer learning rate do not suit the other algorithms, which have usual values.
        own = name == self._settings.algorithm.name
        settings = self._settings if own else with_algorithm(self._settings, name)
        shown = partial(wide_page, explanation(settings), values="these settings" if own else "its usual values")
        self.query_one(ScrollView).show(shown, from_start=True)


def page(explained: Explanation, width: int, theme: ChartTheme, *, values: str = "these settings") -> list[Row]:
    """Lay out an explanation in lines of readable length.

    Args:
        values: phrase that describes the values in the pseudo-code, such as `its usual values`. The title of the
            pseudo-code contains this phrase.
    """
    width = min(width, MAX_LINE_LENGTH)
    return [*_method(explained, values, width, theme), *_details(explained, width, theme)]


def wide_page(explained: Explanation, width: int, theme: ChartTheme, *, values: str) -> list[Row]:
    """Lay out an explanation in two columns if there is room for them."""
    if width < TWO_COLUMNS:
        return page(explained, width, theme, values=values)
    each = min((width - GAP) // 2, MAX_LINE_LENGTH)
    # The first section of the details begins in the row of the idea, below the title.
    right = [[], *_details(explained, each, theme)]
    return columns(_method(explained, values, each, theme), right, (each, each), GAP)


def _method(explained: Explanation, values: str, width: int, theme: ChartTheme) -> list[Row]:
    """Return the rows of an algorithm's title, idea, update rule and pseudo-code."""
    rule = [*_code(explained.rule, width, theme), *paragraph(explained.symbols, width, theme, theme.muted)]
    return [
        *paragraph(explained.title, width, theme, theme.colour("hue-blue", bold=True)),
        [],
        *paragraph(explained.idea, width, theme, theme.text),
        *_section("Update rule", rule, theme),
        *_section(f"Pseudo-code, with {values}", _code(explained.code, width, theme), theme),
    ]


def _details(explained: Explanation, width: int, theme: ChartTheme) -> list[Row]:
    """Return the rows about the cost of a meta-step, the algorithm's usual values, and the paper."""
    return [
        *_section("Cost of a meta-step", _list(explained.costs, width, theme), theme),
        *_section("Usual values", _list(explained.usual_lines(format_with_labels), width, theme), theme),
        *_section("Paper", _list(explained.paper, width, theme), theme),
    ]


def _section(title: str, rows: list[Row], theme: ChartTheme) -> list[Row]:
    return [[], [Segment(theme.printable(title), theme.title)], *rows] if any(rows) else []


def _code(lines: tuple[str, ...], width: int, theme: ChartTheme) -> list[Row]:
    """Wrap code, keeping its indentation and indenting continuation lines further."""
    rows: list[Row] = []
    for line in lines:
        indent = 2 + len(line) - len(line.lstrip())
        wrapped = paragraph(line.lstrip(), max(20, width - indent), theme, theme.text, hang=4)
        rows += [[Segment(" " * indent), *row] for row in wrapped]
    return rows


def _list(sentences: tuple[str, ...], width: int, theme: ChartTheme) -> list[Row]:
    return [
        row
        for sentence in sentences
        for row in paragraph(f"{theme.glyphs.bullet} {sentence}", width, theme, theme.text, hang=2)
    ]
