"""Dialog with all keys, and the meaning of the focused field."""

from __future__ import annotations

import textwrap
from itertools import groupby
from typing import ClassVar

from rich.segment import Segment
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.geometry import Size

from metatui.tui.actions import ACTIONS, Action, AppContext, key_name
from metatui.tui.screens.dialogs.dialog import Dialog
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.charts.chart_theme import ChartTheme, symbols_of, theme_of
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget
from metatui.tui.widgets.static_text import StaticText

ABOUT = (
    "metatui trains a model on many small tasks, so that a few gradient steps on the support examples of a new task "
    "give good predictions for its query examples. The meta-loss is the mean query loss after these steps. The curves "
    "show it for training tasks and for validation tasks, which are never trained on. The adaptation pane shows single "
    "held-out tasks before (step 0) and after each step."
)
RUNS = (
    "A run trains in its own process and continues if this window is closed. One run is followed at a time: d detaches "
    "it, j follows the newest run in the background, and enter in the list of runs (2) follows the selected one. In a "
    "shell, metatui attach follows a run and metatui stop ends it."
)
FORM_KEYS = (
    "Tab and shift+tab move between fields, enter opens a choice or group, space toggles a switch, escape leaves a "
    "text field."
)


class HelpScreen(Dialog[None]):
    """Lists all actions; those that are not possible now are dim."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,f1,question_mark,q", "dismiss", "Close")]

    def __init__(self, context: AppContext, field_help: str) -> None:
        super().__init__()
        self._app_context, self._field_help = context, field_help

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog dialog-tall") as dialog:
            dialog.border_title = "Help"
            with VerticalScroll():
                if self._field_help:
                    yield StaticText(self._field_help, classes="help-field")
                yield KeysTable(self._app_context)
                yield StaticText(FORM_KEYS, classes="help-text")
                yield StaticText(RUNS, classes="help-text")
                yield StaticText(ABOUT, classes="help-text")

    def on_mount(self) -> None:
        self.watch(self.query_one(VerticalScroll), "show_vertical_scrollbar", self._show_scroll_keys)

    def _show_scroll_keys(self, scrolls: bool) -> None:
        keys = "up and down scroll, " if symbols_of(self) is Symbols.ASCII else "↑ ↓ scroll · "
        self.query_one(".dialog", Vertical).border_subtitle = f"{keys if scrolls else ''}escape closes"


class KeysTable(RowsWidget):
    """Keys, name and help of every action, by group."""

    DEFAULT_CSS = "KeysTable { height: auto; }"

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self._app_context = context

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self.rows(width, 0, theme_of(self)))

    def rows(self, width: int, height: int, theme: ChartTheme) -> list[Row]:
        """Return all rows, regardless of `height`."""
        keys, labels = (max(map(len, column)) + 2 for column in (map(_keys, ACTIONS), (a.label for a in ACTIONS)))
        rows: list[Row] = []
        for group, actions in groupby(ACTIONS, key=lambda action: action.group):
            rows.append([Segment(group, theme.title)])
            for action in actions:
                style = theme.muted if action.refuse(self._app_context) else theme.text
                lead = f"  {_keys(action):<{keys}}{action.label:<{labels}}"
                for line in textwrap.wrap(theme.printable(action.help), max(10, width - len(lead))):
                    rows.append([Segment(lead + line, style)])
                    lead = " " * len(lead)
        return rows


def _keys(action: Action) -> str:
    return " or ".join(map(key_name, action.keys.split(",")))
