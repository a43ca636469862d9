"""Tests of the table widget: columns, cursor, headings and mouse."""

from __future__ import annotations

import pytest
from textual import on
from textual.app import App, ComposeResult

from metatui.tui.widgets.table import Cell, Column, Heading, Item, Table
from tests.tui.drawing import turn_wheel

COLUMNS = (Column("Name", least=4, sortable=True), Column("Steps", right=True), Column("Note"))


def item(key: str, note: str = "a note") -> Item:
    return Item(key, (Cell(f"run {key}"), Cell(str(len(key))), Cell(note)))


class Host(App[None]):
    """App that shows a table and records the messages that the table posts."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table(COLUMNS, id="table")
        self.events: list[tuple[object, ...]] = []

    def compose(self) -> ComposeResult:
        yield self.table

    @on(Table.Highlighted)
    def _highlighted(self) -> None:
        self.events.append(("highlighted", self.table.selected))

    @on(Table.Clicked)
    def _clicked(self, event: Table.Clicked) -> None:
        self.events.append(("clicked", event.column, event.again))

    @on(Table.TitleClicked)
    def _title_clicked(self, event: Table.TitleClicked) -> None:
        self.events.append(("title", event.column))

    def lines(self) -> list[str]:
        """Return the visible rows of the table, without the scroll bar."""
        return [self.table.render_line(y).text.rstrip(" ┃│") for y in range(self.table.size.height)]


async def test_columns_cursor_and_mouse() -> None:
    app = Host()
    async with app.run_test(size=(30, 6)) as pilot:
        app.table.show([], empty="Nothing here")
        await pilot.pause()
        assert "Nothing here" in "".join(app.lines())
        assert app.table.selected is None
        keys = ["a", "b", "c", "d", "e", "f", "g"]
        app.table.show([item(key) for key in keys], order=(0, True))
        app.table.focus()
        await pilot.pause()
        assert app.lines()[:2] == ["Name ▼  Steps  Note", "run a       1  a note"]
        await pilot.press("down", "pagedown", "end", "up")
        assert app.table.selected == "f"
        assert app.events == [("highlighted", key) for key in ("a", "b", "f", "g", "f")]
        app.table.show([item(key) for key in "abcdeg"])
        assert app.table.selected == "g"
        app.table.show([item(key) for key in "gfe"])
        assert app.table.selected == "g"
        app.table.show([item(key) for key in "xy"])
        assert app.table.selected == "x"
        await pilot.pause()
        app.events.clear()
        await pilot.click(Table, offset=(9, 2))
        await pilot.click(Table, offset=(0, 2))
        await pilot.click(Table, offset=(8, 0))
        await pilot.click(Table, offset=(8, 5))
        await pilot.pause()
        assert app.events == [("highlighted", "y"), ("clicked", 1, False), ("clicked", 0, True), ("title", 1)]


@pytest.mark.parametrize(("width", "row"), [(20, "run a       1"), (8, "run a"), (5, "run…")])
async def test_columns_that_do_not_fit_are_omitted(width: int, row: str) -> None:
    app = Host()
    async with app.run_test(size=(width, 4)) as pilot:
        app.table.show([item("a")])
        await pilot.pause()
        assert app.lines()[1] == row


@pytest.mark.parametrize(
    ("width", "row"), [(20, "maml-glyphs-081438"), (18, "maml…081438"), (12, "maml…081438"), (9, "maml…08…")]
)
async def test_short_text_is_shown_if_the_text_does_not_fit(width: int, row: str) -> None:
    app = Host()
    async with app.run_test(size=(width, 4)) as pilot:
        name = Cell("maml-glyphs-081438", short="maml…081438")
        app.table.show([Item("a", (name, Cell("1"), Cell("a note")))])
        await pilot.pause()
        assert app.lines()[1] == row


@pytest.mark.parametrize(
    ("width", "order", "titles"),
    [
        (21, None, "Name    Steps"),  # without an order, the last column is omitted
        (21, 0, "Name ▼  Steps"),
        (21, 2, "Name   Steps  Note ▼"),
        (18, 2, "Name    Steps"),  # it would not fit even with truncated columns
    ],
)
async def test_column_of_the_order_is_kept(width: int, order: int | None, titles: str) -> None:
    app = Host()
    async with app.run_test(size=(width, 4)) as pilot:
        app.table.show([item("a")], order=None if order is None else (order, True))
        await pilot.pause()
        assert app.lines()[0] == titles


async def test_cursor_skips_headings() -> None:
    app = Host()
    async with app.run_test(size=(30, 4)) as pilot:
        app.table.show([Heading("One", "first"), item("a"), Heading("Two"), item("b"), item("c")])
        app.table.focus()
        await pilot.pause()
        assert app.lines()[1:3] == ["One  first", "  run a       1  a note"]
        assert app.table.selected == "a"
        await pilot.press("down")
        assert app.table.selected == "b"
        await pilot.press("down", "down", "home")
        await pilot.pause()
        assert app.lines()[1].startswith("One  first")
        await turn_wheel(pilot, app.table, 1)
        assert app.lines()[1:] == ["Two", "  run b       1  a note", "  run c       1  a note"]
        await turn_wheel(pilot, app.table, -1)
        assert app.lines()[1].startswith("One  first")
        assert app.table.selected == "a", "the wheel does not move the cursor"
        await pilot.resize_terminal(30, 3)
        await pilot.press("down")
        await pilot.resize_terminal(30, 2)
        await pilot.pause()
        assert app.lines()[1].startswith("  run b")
