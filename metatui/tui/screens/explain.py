"""An algorithm on a page: what it does, its pseudo-code with the current settings, what it costs, its paper."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Final

from rich.segment import Segment
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.reactive import reactive
from textual.screen import ModalScreen
from textual.widget import Widget

from metatui.config.settings import Settings
from metatui.learning.explanations import ALGORITHMS, Explanation, explanation
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row
from metatui.tui.widgets.key_line import Key, KeyLine
from metatui.tui.widgets.scroll_view import ScrollView, paragraph

NAMES: Final = tuple(ALGORITHMS)
KEYS: Final = (Key("n b", "Other algorithm", "other(1)"), Key("Esc", "Close", "dismiss"))


LONGEST_LINE = 100


class AlgorithmStrip(Widget):
    """Which algorithm is explained."""

    DEFAULT_CSS = """
    AlgorithmStrip {
        height: 1; color: $text-muted; margin-bottom: 1;
        link-style: none; link-color: $foreground; link-background: transparent; link-style-hover: underline;
    }
    """

    algorithm: reactive[str] = reactive(NAMES[0])

    def render(self) -> Content:
        parts = [
            Content.styled(f" {name} ", "bold reverse")
            if name == self.algorithm
            else Content.from_markup(f"[@click=screen.algorithm('{name}')] {name} [/]")
            for name in NAMES
        ]
        return Content("").join(parts)


class ExplainScreen(ModalScreen[None]):
    """Explains the algorithm of `settings`, and the others with the same settings."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,q,ctrl+g", "dismiss", "Close"),
        ("n,right", "other(1)", "Next algorithm"),
        ("b,left", "other(-1)", "Algorithm before"),
    ]
    DEFAULT_CSS = """
    ExplainScreen { layout: vertical; background: $background; align: left top; }
    ExplainScreen Vertical { padding: 0 1; height: 1fr; }
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self.algorithm: str = settings.algorithm.name

    def compose(self) -> ComposeResult:
        with Vertical():
            yield AlgorithmStrip()
            yield ScrollView()
        yield KeyLine(KEYS)

    def on_mount(self) -> None:
        self.query_one(ScrollView).focus()
        self.action_algorithm(self.algorithm)

    def action_other(self, by: int) -> None:
        self.action_algorithm(NAMES[(NAMES.index(self.algorithm) + by) % len(NAMES)])

    def action_algorithm(self, name: str) -> None:
        """Explain the algorithm of this name."""
        self.algorithm = name
        self.query_one(AlgorithmStrip).algorithm = name
        self.query_one(ScrollView).show(partial(page, explanation(self._settings, name)), from_start=True)


def page(found: Explanation, width: int, look: ChartTheme) -> list[Row]:
    """The explanation from top to bottom, in lines that are short enough to be read."""
    width = min(width, LONGEST_LINE)

    def section(title: str, rows: list[Row]) -> list[Row]:
        return [[], [Segment(look.say(title), look.title)], *rows]

    rows = paragraph(found.title, width, look, look.colour("hue-blue", bold=True))
    rows += [[], *paragraph(found.idea, width, look, look.text)]
    rows += section(
        "Update rule", [*_code(found.rule, width, look), *paragraph(found.symbols, width, look, look.muted)]
    )
    rows += section("Pseudo-code, with these settings", _code(found.code, width, look))
    rows += section("What a meta-step takes", _list(found.costs, width, look))
    return rows + section("Paper", _list(found.paper, width, look))


def _code(lines: tuple[str, ...], width: int, look: ChartTheme) -> list[Row]:
    """Lines as they are indented; one that is too long goes on below, further to the right."""
    rows: list[Row] = []
    for line in lines:
        indent = 2 + len(line) - len(line.lstrip())
        wrapped = paragraph(line.lstrip(), max(20, width - indent), look, look.text, hang=4)
        rows += [[Segment(" " * indent), *row] for row in wrapped]
    return rows


def _list(sentences: tuple[str, ...], width: int, look: ChartTheme) -> list[Row]:
    return [
        row
        for sentence in sentences
        for row in paragraph(f"{look.glyphs.bullet} {sentence}", width, look, look.text, hang=2)
    ]
