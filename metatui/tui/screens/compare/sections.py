"""The four sections of a comparison, laid out for the size of the terminal."""

from __future__ import annotations

from functools import partial
from typing import Final, Literal

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.events import DescendantFocus
from textual.reactive import reactive
from textual.widget import Widget

from metatui.runs.analysis.comparison import Comparison, Recorded
from metatui.tui.screens.compare import curves, pages
from metatui.tui.screens.compare.curves import CurveOptions
from metatui.tui.widgets.charts import LineChart
from metatui.tui.widgets.key_line import TabStrip
from metatui.tui.widgets.scroll_view import Page, ScrollView

Section = Literal["training", "adaptation", "result", "tables"]
SECTIONS: Final[tuple[Section, ...]] = ("training", "adaptation", "result", "tables")
PAGES: Final[tuple[Section, ...]] = ("result", "tables")
"""The text sections, which are below the charts."""

THREE_SECTIONS: Final = (100, 34)
"""Minimum width and height of the terminal, in cells, at which both charts and one text section are shown."""
ALL_SECTIONS: Final = (160, 48)
"""Minimum width and height of the terminal, in cells, at which all four sections are shown."""


class Sections(Vertical):
    """The sections of a comparison: two charts above two texts. Small terminals show only the selected section."""

    DEFAULT_CSS = """
    Sections .compare-row { height: 1fr; }
    Sections .compare-section {
        width: 1fr; height: 1fr; padding: 0 1;
        border: round $foreground 30%; border-title-color: $foreground; border-title-style: bold;
        &:ansi { border: round ansi_bright_black; }
        &:focus { border: round $border; }
    }
    Sections.-one .compare-section { border: none; &:focus { border: none; } }
    """

    section: reactive[Section] = reactive[Section]("result", init=False)

    def compose(self) -> ComposeResult:
        yield TabStrip(SECTIONS, action="section", numbered=True)
        with Horizontal(classes="compare-row"):
            yield LineChart(id="compare-training", classes="compare-section")
            yield LineChart(id="compare-adaptation", classes="compare-section")
        with Horizontal(classes="compare-row"):
            yield ScrollView(id="compare-result", classes="compare-section")
            yield ScrollView(id="compare-tables", classes="compare-section")

    def on_mount(self) -> None:
        for number, section in enumerate(SECTIONS, 1):
            widget = self._widget(section)
            widget.border_title = f"{number} {section.capitalize()}"
            widget.can_focus = True
        self.lay_out()

    def show_training(self, comparison: Comparison | Recorded, view: CurveOptions) -> None:
        self.query_one("#compare-training", LineChart).show(curves.training(comparison, view))

    def show_results(self, comparison: Comparison, view: CurveOptions, page: Page) -> None:
        """Show the adaptation curves and the tables of `comparison`, and `page` in the result section."""
        self.query_one("#compare-adaptation", LineChart).show(curves.adaptation(comparison, view))
        self.query_one("#compare-result", ScrollView).show(page)
        self.query_one("#compare-tables", ScrollView).show(partial(pages.tables_page, comparison))

    def move(self, by: int) -> None:
        """Move the selection by `by` sections, wrapping around at the ends."""
        self.section = SECTIONS[(SECTIONS.index(self.section) + by) % len(SECTIONS)]

    def watch_section(self) -> None:
        self.lay_out()

    @on(DescendantFocus)
    def _select_focused(self, event: DescendantFocus) -> None:
        name = (event.widget.id or "").removeprefix("compare-")
        if name in SECTIONS:
            self.section = name

    def lay_out(self) -> None:
        """Show as many sections as fit in the terminal, always including the selected one."""
        width, height = self.app.size
        if width >= ALL_SECTIONS[0] and height >= ALL_SECTIONS[1]:
            visible: tuple[Section, ...] = SECTIONS
        elif width >= THREE_SECTIONS[0] and height >= THREE_SECTIONS[1]:
            visible = ("training", "adaptation", self.section if self.section in PAGES else "result")
        else:
            visible = (self.section,)
        for section in SECTIONS:
            self._widget(section).display = section in visible
        for row in self.query(".compare-row"):
            row.display = any(child.display for child in row.children)
        self.set_class(len(visible) == 1, "-one")
        strip = self.query_one(TabStrip)
        strip.display, strip.selected = len(visible) < len(SECTIONS), self.section
        self._widget(self.section).focus()

    def _widget(self, section: Section) -> Widget:
        return self.query_one(f"#compare-{section}")
