"""Tests of sending pictures to the terminal as sixel graphics."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import Color, ColorSystem
from rich.console import RenderableType
from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.geometry import Region
from textual.pilot import Pilot
from textual.screen import Screen
from textual.strip import Strip
from textual.widgets._toast import Toast

from metatui.config import presets
from metatui.events import Evaluated
from metatui.tui.app import MetatuiApp
from metatui.tui.terminal.kitty import Picture
from metatui.tui.terminal.sixel import (
    MARK,
    MAX_COLOURS,
    QUESTIONS,
    REGISTERS,
    REPLY,
    UNFINISHED_REPLY,
    Reply,
    SixelPictures,
    SixelTerminal,
    encode,
)
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.adaptation import AdaptationPanel
from metatui.tui.widgets.adaptation.photograph import draw
from tests.tui.drawing import photographs
from tests.tui.fakes import FakeSessions, evaluation
from tests.tui.widgets.test_adaptation import chart_theme

XTERM_CELL, VT340_ATTRIBUTES, NO_SIXELS = "\x1b[6;20;10t", "\x1b[?63;1;2;4;6;9;15;22c", "\x1b[?62;1;6;22c"

SIXELS = re.compile(r'\x1b\[(\d+);(\d+)H\x1bP7;1q"1;1;(\d+);(\d+)([^\x1b]*)\x1b\\')
"""Matches a picture. Groups: row and column of the first cell, width and height in pixels, and sixel data."""
COMMAND = re.compile(r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)([?-~])|([?-~])|(\$)|(-)")

Colour = tuple[int, int, int]


def decoded(data: str, width: int, height: int) -> list[list[Colour | None]]:
    """Decode sixels into rows of pixels.

    A pixel is its red, green and blue in percent, or None if the pixel is not drawn.
    """
    image: list[list[Colour | None]] = [[None] * width for _ in range(height)]
    palette: dict[int, Colour] = {}
    colour, x, top, end = 0, 0, 0, 0
    for command in COMMAND.finditer(data):
        assert command.start() == end, f"no command: {data[end:]}"
        end = command.end()
        defined, red, green, blue, selected, times, repeated, single, start, down = command.groups()
        if defined:
            palette[int(defined)] = (int(red), int(green), int(blue))
        elif selected:
            colour = int(selected)
        elif start:
            x = 0
        elif down:
            x, top = 0, top + 6
        else:
            for column in range(x, x + int(times or 1)):
                for bit in range(6):
                    if ord(repeated or single) - 63 >> bit & 1:
                        assert image[top + bit][column] is None, "drawn twice"
                        image[top + bit][column] = palette[colour]
            x += int(times or 1)
    assert end == len(data)
    return image


def pictures_in(sent: str) -> list[tuple[int, int, int, int]]:
    """Return the row, the column (both counted from 0), the width and the height (both in pixels) of each picture."""
    found = [(int(row) - 1, int(column) - 1, int(w), int(h)) for row, column, w, h, _ in SIXELS.findall(sent)]
    assert sent.count("\x1bP") == len(found)
    return found


@given(st.integers(1, 20), st.lists(st.integers(0, 5), min_size=1, max_size=200))
def test_decoding_gives_the_encoded_image(width: int, values: list[int]) -> None:
    values = (values * width)[: max(width, len(values) // width * width)]
    palette = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (51, 102, 153), (0, 255, 0), (0, 0, 255)]
    percent = [tuple(round(value / 2.55) for value in colour) for colour in palette]
    found = re.fullmatch(r'\x1bP7;1q"1;1;(\d+);(\d+)([^\x1b]*)\x1b\\', encode(bytes(values), width, palette))
    assert found
    assert (int(found[1]), int(found[2])) == (width, len(values) // width)
    image = decoded(found[3], width, len(values) // width)
    assert [colour for row in image for colour in row] == [percent[value] for value in values]


def terminal(line_cell: tuple[int, int] | None = None) -> tuple[SixelTerminal, list[str]]:
    written: list[str] = []
    return SixelTerminal(written.append, lambda: line_cell), written


def test_a_terminal_says_that_it_shows_sixels() -> None:
    sixels, written = terminal()
    assert sixels.receive(VT340_ATTRIBUTES) is None  # not asked
    sixels.ask()
    assert sixels.receive(XTERM_CELL) is None
    assert sixels.receive(VT340_ATTRIBUTES) == SixelPictures(10, 20)
    assert written == [QUESTIONS, REGISTERS]
    assert sixels.receive("\x1b[?1;0;256S") == SixelPictures(10, 20, MAX_COLOURS)
    assert sixels.receive("\x1b[?1;0;16S") == SixelPictures(10, 20, 16)
    for other in ("\x1b[?1;3;0S", "\x1b[?1;0S", "\x1b[?2;0;800;600S", "\x1b[?S"):  # errors, and the largest picture
        assert sixels.receive(other) == SixelPictures(10, 20, 16)
    sixels.resized()
    assert written[2:] == [QUESTIONS]
    assert sixels.receive("\x1b[6;30;15t") == SixelPictures(15, 30, 16)
    assert sixels.receive(VT340_ATTRIBUTES) == SixelPictures(15, 30, 16)
    assert len(written) == 3


@pytest.mark.parametrize("attributes", [NO_SIXELS, "\x1b[?6c", "\x1b[?4;6c", "\x1b[?c"])
def test_a_terminal_without_sixels(attributes: str) -> None:
    sixels, written = terminal((10, 20))
    sixels.ask()
    assert sixels.receive(XTERM_CELL) is None
    assert sixels.receive(attributes) is None
    sixels.resized()
    assert written == [QUESTIONS]


@pytest.mark.parametrize(("line_cell", "shown"), [((8, 16), True), (None, False), ((0, 0), False)])
def test_the_kernel_may_know_the_size_of_a_cell(line_cell: tuple[int, int] | None, shown: bool) -> None:
    sixels, _ = terminal(line_cell)
    sixels.ask()
    assert sixels.receive(VT340_ATTRIBUTES) == (SixelPictures(8, 16) if shown else None)


def test_impossible_cells_are_not_used() -> None:
    sixels, _ = terminal()
    sixels.ask()
    sixels.receive(VT340_ATTRIBUTES)
    assert sixels.receive("\x1b[6;99999;10t") is None
    assert sixels.receive("\x1b[6;0;10t") is None


def test_replies_are_not_keys() -> None:
    replies = (XTERM_CELL, VT340_ATTRIBUTES, "\x1b[?1;0;256S", "\x1b[?c")
    assert REPLY.findall("a" + "b".join(replies) + "\x1b[6;5~\x1b[6~\x1b[?2026;2$y") == list(replies)
    for reply in replies:
        for end in range(reply.index("[") + 3, len(reply)):
            rest = UNFINISHED_REPLY.search(f"a{reply[:end]}")
            assert rest
            assert rest[0] == reply[:end]
    assert not REPLY.search(f"\x1b[?{'9' * 5000}c")
    assert not any(UNFINISHED_REPLY.search(key) for key in ("\x1b", "\x1b[", "\x1b[6", "\x1b[A", "\x1b[1;5H"))


RED, BLUE = (100, 0, 0), (0, 0, 100)
TWO = Picture(bytes([255, 0, 0, 0, 0, 255]), 1, 2, 2, 4)
"""A picture that is red on the left and blue on the right."""


def marked(pictures: SixelPictures, picture: Picture = TWO) -> list[list[Segment]]:
    return pictures.mark_cells(picture, [[Segment("▀")] * picture.columns for _ in range(picture.rows)])


def test_a_picture_is_drawn_over_its_cells() -> None:
    pictures = SixelPictures(5, 10)
    strips = [(7, 3 + y, Strip([Segment("ab"), *row])) for y, row in enumerate(marked(pictures))]
    sent = pictures.render(strips, height=24)
    assert pictures_in(sent) == [(3, 9, 20, 15)]  # half a row is left blank
    ((*_, data),) = SIXELS.findall(sent)
    assert decoded(data, 20, 15) == [[RED] * 10 + [BLUE] * 10] * 15


def test_the_blank_part_of_a_picture_has_the_colour_of_the_background() -> None:
    pictures = SixelPictures(5, 10)
    ground = Style(bgcolor=Color.from_rgb(0, 255, 0))
    strips = [(0, y, Strip(row).apply_style(ground)) for y, row in enumerate(marked(pictures))]
    sent = pictures.render(strips, height=24)
    assert pictures_in(sent) == [(0, 0, 20, 20)]
    ((*_, data),) = SIXELS.findall(sent)
    assert decoded(data, 20, 20) == [[RED] * 10 + [BLUE] * 10] * 15 + [[(0, 100, 0)] * 20] * 5
    ((*_, data),) = SIXELS.findall(pictures.render(strips, 24, ColorSystem.STANDARD))
    assert decoded(data, 20, 20)[19] == [(0, 50, 0)] * 20  # the nearest of 16 colours
    own = [(0, y, Strip(row).apply_style(Style(bgcolor="default"))) for y, row in enumerate(marked(pictures))]
    assert pictures_in(pictures.render(own, 24)) == [(0, 0, 20, 15)]  # the terminal's own background


def test_only_drawn_cells_are_covered() -> None:
    pictures = SixelPictures(5, 10)
    first, second = (Strip(row) for row in marked(pictures))
    assert pictures_in(pictures.render([(0, 0, first.crop(1, 3))], 24)) == [(0, 0, 10, 10)]
    right = [(0, 0, Strip([Segment("xy")])), (2, 0, first.crop(2)), (0, 1, second)]
    assert pictures_in(pictures.render(right, 24)) == [(0, 2, 10, 15), (1, 0, 10, 5)]
    covered = [(0, 0, first.crop(0, 1)), (1, 0, Strip([Segment("xy")])), (3, 0, first.crop(3))]
    sent = pictures.render(covered, 24)
    assert pictures_in(sent) == [(0, 0, 5, 10), (0, 3, 5, 10)]
    assert [decoded(data, 5, 10)[0][0] for *_, data in SIXELS.findall(sent)] == [RED, BLUE]


def test_the_last_row_has_no_pictures() -> None:
    pictures = SixelPictures(5, 10)
    strips = [(0, 22 + y, Strip(row)) for y, row in enumerate(marked(pictures))]
    assert pictures_in(pictures.render(strips, height=24)) == [(22, 0, 20, 10)]


def test_photographs_are_marked_cells() -> None:
    image = bytes(range(12))
    plain = draw(image, 2, 2, 2, 3, chart_theme())
    theme = replace(chart_theme(), pictures=SixelPictures(10, 20))
    cells = draw(image, 2, 2, 2, 3, theme)
    assert [[segment.text for segment in row] for row in cells] == [[segment.text for segment in row] for row in plain]
    marks = [[(segment.style or Style()).meta[MARK] for segment in row] for row in cells]
    assert marks == [[(0, row, column) for column in range(3)] for row in range(2)]
    assert {segment.style.link_id for row in cells for segment in row if segment.style} == {""}  # not links
    for other in (replace(theme, monochrome=True), replace(theme, symbols=Symbols.ASCII)):
        assert not any((segment.style or Style()).meta for row in draw(image, 2, 2, 2, 3, other) for segment in row)


class ScreenUpdates(list[str]):
    """List of the screen updates that the app would send to the terminal."""

    def take(self) -> str:
        text = "".join(self)
        self.clear()
        return text


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> ScreenUpdates:
    updates = ScreenUpdates()

    def record(app: App[None], screen: Screen[object], renderable: RenderableType | None) -> None:
        if (render := getattr(renderable, "render_segments", None)) and app._running:
            updates.append(render(app.console))
        app.post_display_hook()

    monkeypatch.setattr(App, "_display", record)
    return updates


async def receive(pilot: Pilot[None], *replies: str) -> None:
    for reply in replies:
        pilot.app.post_message(Reply(reply))
    await pilot.pause()


async def show_photographs(app: MetatuiApp, pilot: Pilot[None], sessions: FakeSessions) -> AdaptationPanel:
    """Start a run whose first validation shows photographs, and return the adaptation panel."""
    await pilot.press("f5")
    await app.workers.wait_for_complete()
    assert sessions.session
    sessions.session.emit(Evaluated(evaluation(sessions.session.settings, 1), (photographs(),), best=True))
    await sessions.session.wait_until_shown(app, pilot)
    app.work_tab.go_to("adaptation")
    await pilot.pause()
    return app.work_tab.adaptation


def places(panel: AdaptationPanel, width: int, height: int) -> set[tuple[int, int, int, int]]:
    """Return the position and size of each picture that the marks in the panel require, in the form of `pictures_in`.

    Args:
        width: width of a terminal cell in pixels.
        height: height of a terminal cell in pixels.
    """
    left, top = panel.content_region.offset
    sizes: dict[tuple[int, int], tuple[int, int]] = {}
    for y in range(panel.content_size.height):
        x = left
        for segment in panel.render_line(y):
            if mark := (segment.style or Style()).meta.get(MARK):
                _, row, column = mark
                rows, columns = sizes.get((top + y - row, x - column), (0, 0))
                sizes[top + y - row, x - column] = (max(rows, row + 1), max(columns, column + 1))
            x += segment.cell_length
    return {(*place, columns * width, rows * height) for place, (rows, columns) in sizes.items()}


async def test_pictures_are_drawn_again_when_their_cells_are(
    make: Callable[..., MetatuiApp], sessions: FakeSessions, sent: ScreenUpdates
) -> None:
    app = make(presets.load("glyphs").settings)
    async with app.run_test(size=(160, 48)) as pilot:
        panel = await show_photographs(app, pilot, sessions)
        assert pictures_in(sent.take()) == []

        await receive(pilot, XTERM_CELL, VT340_ATTRIBUTES)
        first = set(pictures_in(sent.take()))
        assert len(first) == 10
        assert first == places(panel, 10, 20)

        await receive(pilot, "\x1b[?1;0;256S", XTERM_CELL, VT340_ATTRIBUTES)
        await pilot.hover(AdaptationPanel, offset=(20, 6))
        panel.action_step(-1)  # changes the predictions and the chart, but no picture
        await pilot.pause()
        update = sent.take()
        assert "step" in update
        assert pictures_in(update) == []

        await pilot.press("f1")
        await pilot.pause()
        assert len(app.screen_stack) == 2
        assert pictures_in(sent.take()) == []
        await pilot.press("escape")
        await pilot.pause()
        assert len(app.screen_stack) == 1
        assert set(pictures_in(sent.take())) == first

        app.action_theme()
        await pilot.pause()
        assert set(pictures_in(sent.take())) == first

        app._draw_again(None)  # after a suspension
        await pilot.pause()
        assert set(pictures_in(sent.take())) == first

        await receive(pilot, "\x1b[6;30;15t")
        assert set(pictures_in(sent.take())) == places(panel, 15, 30)

        await pilot.resize_terminal(120, 40)
        await pilot.pause()
        resized = set(pictures_in(sent.take()))
        assert resized
        assert resized == places(panel, 15, 30)

        panel.show_views([], empty="none")
        await pilot.pause()
        assert pictures_in(sent.take()) == []


def region_of(y: int, x: int, width: int, height: int) -> Region:
    return Region(x, y, width // 10, height // 20)


async def test_messages_cover_pictures(
    make: Callable[..., MetatuiApp], sessions: FakeSessions, sent: ScreenUpdates
) -> None:
    app = make(presets.load("glyphs").settings)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await show_photographs(app, pilot, sessions)
        await receive(pilot, XTERM_CELL, VT340_ATTRIBUTES)
        sent.clear()
        app.notify("A message that covers pictures. " * 12)
        await pilot.pause()
        message = app.screen.query_one(Toast).region
        beside = pictures_in(sent.take())
        assert not any(message.overlaps(region_of(*picture)) for picture in beside)
        app.clear_notifications()
        await pilot.pause()
        again = pictures_in(sent.take())
        assert any(message.overlaps(region_of(*picture)) for picture in again)
        await pilot.pause()
        assert sent.take() == ""
