"""Every key, and what the field under the cursor means."""

from __future__ import annotations

from itertools import groupby
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from metatui.tui.actions import ACTIONS, Situation
from metatui.tui.charts.look import symbols_of
from metatui.tui.panes.bars import key_name
from metatui.tui.symbols import Symbols
from metatui.tui.words import Words

ABOUT = (
    "metatui trains a model on many small tasks so that a few gradient steps on a new task's support examples make it "
    "good at that task's query examples. Meta-loss is the mean query loss after those steps. Curves show it for "
    "training tasks and for validation tasks, which are never trained on; the adaptation pane shows what the steps do "
    "to single held-out tasks, before (step 0) and after."
)
FORM_KEYS = "Tab and shift+tab move, enter opens a choice or a group, space turns a switch, escape leaves a text field."


class HelpScreen(ModalScreen[None]):
    """Made from the table of actions, so it cannot be out of date; what cannot be done now is dim."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,f1,question_mark,q", "dismiss", "Close")]

    def __init__(self, situation: Situation, field_help: str) -> None:
        super().__init__()
        self._situation, self._field_help = situation, field_help

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog dialog-tall") as dialog:
            dialog.border_title = "Help"
            with VerticalScroll():
                if self._field_help:
                    yield Words(self._field_help, classes="help-field")
                yield Static(self._keys())
                yield Words(FORM_KEYS, classes="help-text")
                yield Words(ABOUT, classes="help-text")

    def on_mount(self) -> None:
        self.watch(self.query_one(VerticalScroll), "show_vertical_scrollbar", self._say_keys)

    def _say_keys(self, scrolls: bool) -> None:
        ways = "up and down scroll, " if symbols_of(self) is Symbols.ASCII else "↑ ↓ scroll · "
        self.query_one(".dialog", Vertical).border_subtitle = f"{ways if scrolls else ''}escape closes"

    def _keys(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column()
        for group, actions in groupby(ACTIONS, key=lambda action: action.group):
            table.add_row(Text(group, style="bold"))
            for action in actions:
                style = "dim" if action.refuse(self._situation) else ""
                keys = " or ".join(map(key_name, action.keys.split(",")))
                table.add_row(
                    Text(f"  {keys}", style=style), Text(action.label, style=style), Text(action.help, style=style)
                )
        return table
