"""Every key, and what the field under the cursor means."""

from __future__ import annotations

import textwrap
from itertools import groupby
from typing import ClassVar

from rich.segment import Segment
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.geometry import Size

from metatui.tui.actions import ACTIONS, Action, AppContext
from metatui.tui.screens.dialogs.dialog import Dialog
from metatui.tui.screens.main.header_footer import key_name
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.charts.chart_theme import ChartTheme, symbols_of, theme_of
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget
from metatui.tui.widgets.static_text import StaticText

ABOUT = (
    "metatui trains a model on many small tasks so that a few gradient steps on a new task's support examples make it "
    "good at that task's query examples. Meta-loss is the mean query loss after those steps. Curves show it for "
    "training tasks and for validation tasks, which are never trained on; the adaptation pane shows what the steps do "
    "to single held-out tasks, before (step 0) and after."
)
RUNS = (
    "A run trains in a process of its own and goes on whatever becomes of this window. One run is followed at a time: "
    "d leaves it to the background, j follows the newest live one, enter in the list of runs (2) the one under the "
    "cursor. metatui attach does so from a shell, metatui stop ends a run."
)
FORM_KEYS = "Tab and shift+tab move, enter opens a choice or a group, space turns a switch, escape leaves a text field."


class HelpScreen(Dialog[None]):
    """Made from the table of actions, so it cannot be out of date; what cannot be done now is dim."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,f1,question_mark,q", "dismiss", "Close")]

    def __init__(self, situation: AppContext, field_help: str) -> None:
        super().__init__()
        self._situation, self._field_help = situation, field_help

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog dialog-tall") as dialog:
            dialog.border_title = "Help"
            with VerticalScroll():
                if self._field_help:
                    yield StaticText(self._field_help, classes="help-field")
                yield KeysTable(self._situation)
                yield StaticText(FORM_KEYS, classes="help-text")
                yield StaticText(RUNS, classes="help-text")
                yield StaticText(ABOUT, classes="help-text")

    def on_mount(self) -> None:
        self.watch(self.query_one(VerticalScroll), "show_vertical_scrollbar", self._say_keys)

    def _say_keys(self, scrolls: bool) -> None:
        ways = "up and down scroll, " if symbols_of(self) is Symbols.ASCII else "↑ ↓ scroll · "
        self.query_one(".dialog", Vertical).border_subtitle = f"{ways if scrolls else ''}escape closes"


class KeysTable(RowsWidget):
    """Keys, name and meaning of every action, by group."""

    DEFAULT_CSS = "KeysTable { height: auto; }"

    def __init__(self, now: AppContext) -> None:
        super().__init__()
        self._now = now

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self.rows(width, 0, theme_of(self)))

    def rows(self, width: int, height: int, look: ChartTheme) -> list[Row]:
        """All of them, whatever the height."""
        keys, labels = (max(map(len, column)) + 2 for column in (map(_keys, ACTIONS), (a.label for a in ACTIONS)))
        rows: list[Row] = []
        for group, actions in groupby(ACTIONS, key=lambda action: action.group):
            rows.append([Segment(group, look.title)])
            for action in actions:
                style = look.muted if action.refuse(self._now) else look.text
                lead = f"  {_keys(action):<{keys}}{action.label:<{labels}}"
                for line in textwrap.wrap(look.say(action.help), max(10, width - len(lead))):
                    rows.append([Segment(lead + line, style)])
                    lead = " " * len(lead)
        return rows


def _keys(action: Action) -> str:
    return " or ".join(map(key_name, action.keys.split(",")))
