"""What happened in the run, newest last: validations, changes, checkpoints, warnings."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.events import MouseScrollDown, MouseScrollUp

from metatui.tui.controllers.run_model import JournalLine, Tone
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget, padded

STEP_WIDTH = 7
"""Columns of the meta-step, as long as it is below a million."""
GAP = "  "

EMPTY = "Warnings, validations, checkpoints and changes of a run are listed here."


class Wrapped(NamedTuple):
    """A row: what stands in the meta-step's column, the text, and its tone."""

    step: str
    text: str
    tone: Tone


class JournalPane(RowsWidget, can_focus=True):
    """The journal of the run that is shown; each line begins with its meta-step. It follows what is new unless one has
    scrolled back.

    It scrolls its rows itself: in a scrolling container of Textual's, every new line lays the whole screen out anew.
    """

    BORDER_TITLE = "Journal"
    BINDINGS: ClassVar[list[BindingType]] = [
        ("up", "scroll_rows(-1)", "Up"),
        ("down", "scroll_rows(1)", "Down"),
        ("pageup", "scroll_pages(-1)", "Page up"),
        ("pagedown", "scroll_pages(1)", "Page down"),
        ("home", "scroll_rows(-1000000)", "Start"),
        ("end", "scroll_rows(1000000)", "End"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"journal--good", "journal--warning", "journal--error"}
    DEFAULT_CSS = """
    JournalPane {
        & > .journal--good { color: $text-success; }
        & > .journal--warning { color: $text-warning; }
        & > .journal--error { color: $text-error; }
    }
    """

    def __init__(self) -> None:
        super().__init__(id="journal", classes="pane in-journal")
        self._shown: tuple[JournalLine, ...] = ()
        self._wrapped: list[Wrapped] = []
        self._wrapped_for: tuple[object, ...] = ()
        self._top: int | None = None
        """The first row that is seen; None at the end."""

    def show(self, lines: Iterable[JournalLine]) -> None:
        """Show `lines`."""
        now = tuple(lines)
        if now != self._shown:
            self._shown = now
            self.redraw()

    def action_scroll_rows(self, by: int) -> None:
        last = max(0, len(self._wrapped) - self.content_size.height)
        top = max(0, min(last, (last if self._top is None else self._top) + by))
        self._top = None if top == last else top
        self.redraw()

    def action_scroll_pages(self, by: int) -> None:
        self.action_scroll_rows(by * max(1, self.content_size.height - 1))

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self.action_scroll_rows(-3)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self.action_scroll_rows(3)

    def rows(self, width: int, height: int, look: ChartTheme) -> list[Row]:
        if not self._shown:
            return [[Segment(row, look.muted)] for row in textwrap.wrap(EMPTY, max(1, width))]
        # The bar's column is kept free, so that nothing is wrapped anew when it appears.
        self._wrap(width - 1, look)
        last = max(0, len(self._wrapped) - height)
        top = last if self._top is None else min(self._top, last)
        inks = {tone: self._ink(tone, look) for tone in ("plain", "good", "warning", "error")}
        bar = scroll_bar(top, height, len(self._wrapped), look)
        return [
            [*padded([Segment(row.step, look.muted), Segment(row.text, inks[row.tone])], width - 1), part]
            for row, part in zip(self._wrapped[top : top + height], bar, strict=False)
        ]

    def _wrap(self, width: int, look: ChartTheme) -> None:
        situation = (self._shown, width, look.symbols)
        if situation != self._wrapped_for:
            self._wrapped_for = situation
            steps = [f"{line.iteration:,}" for line in self._shown]
            room = max(STEP_WIDTH, *map(len, steps))
            self._wrapped = [
                row
                for line, step in zip(self._shown, steps, strict=True)
                for row in wrapped(line, step.rjust(room) + GAP, width, look)
            ]

    def _ink(self, tone: Tone, look: ChartTheme) -> Style:
        # Not the part's own rules alone: a colour such as $text-success is known only on the background it lies on.
        return look.text if tone == "plain" else Style(color=self.get_component_rich_style(f"journal--{tone}").color)


def wrapped(line: JournalLine, step: str, width: int, look: ChartTheme) -> list[Wrapped]:
    """`line` in rows of `width`, the first of which begins with `step`."""
    texts = textwrap.wrap(look.say(line.text), max(1, width - len(step)))
    steps = [step, *(" " * len(step) for _ in texts[1:])]
    return [Wrapped(step, text, line.tone) for step, text in zip(steps, texts, strict=False)]


def scroll_bar(top: int, height: int, count: int, look: ChartTheme) -> Sequence[Segment]:
    """For each of `height` rows its piece of a bar that says which of `count` rows are seen; blank if all are."""
    if count <= height:
        return [Segment(" ")] * height
    size = max(1, height * height // count)
    start = round(top / (count - height) * (height - size))
    thumb, track = Segment(look.glyphs.thumb, look.text), Segment(look.glyphs.vertical, look.muted)
    return [thumb if start <= row < start + size else track for row in range(height)]
