"""What is sent to the terminal: less than what is drawn, and the same to see."""

from __future__ import annotations

import re

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metatui.tui.terminal import screen_diff
from metatui.tui.terminal.screen_diff import Screen

WIDTH, HEIGHT = 24, 3  # wide enough for the widest pieces: what runs over the edge, Textual never sends
STYLES = ("", "1", "38;2;1;2;3;48;2;9;9;9", "31")
WORDS = st.text(st.sampled_from("ab ●⠒字"), min_size=1, max_size=4)
PIECES = st.tuples(
    st.integers(1, HEIGHT), st.integers(1, 4), st.lists(st.tuples(st.sampled_from(STYLES), WORDS), max_size=2)
)


def frame(*pieces: tuple[int, int, list[tuple[str, str]]]) -> str:
    """As Textual writes one: a move, styled words, a line feed; the place of the cursor last."""
    drawn = [
        f"\x1b[{y};{x}H" + "".join(f"\x1b[{style}m{words}\x1b[0m" if style else words for style, words in words_of)
        for y, x, words_of in pieces
    ]
    return "\n".join([*drawn, "\x1b[1;1H"])


def seen(*sent: str) -> list[list[tuple[str, str, str, bool]]]:
    """The screen after that."""
    screen = pyte.Screen(WIDTH, HEIGHT + 1)  # with room for the last line feed
    stream = pyte.Stream(screen)
    for text in sent:
        stream.feed(text)
    return [
        [(cell.data, cell.fg, cell.bg, cell.bold) for cell in (screen.buffer[y][x] for x in range(WIDTH))]
        for y in range(HEIGHT)
    ]


@given(st.lists(st.lists(PIECES, max_size=4), max_size=6))
def test_the_screen_is_the_same(frames: list[list[tuple[int, int, list[tuple[str, str]]]]]) -> None:
    drawn = [frame(*pieces) for pieces in frames]
    screen = Screen()
    assert seen(*map(screen.news, drawn)) == seen(*drawn)


def test_what_is_there_is_not_sent_again() -> None:
    screen, drawn = Screen(), frame((1, 1, [("1", "meta"), ("", "-loss")]), (2, 3, [("31", "字字")]))
    assert screen.news(drawn) == drawn.replace("\n", "")
    assert screen.news(drawn) == "\x1b[1;1H"
    # The same cells, in other pieces.
    assert screen.news(frame((1, 1, [("1", "me")]), (1, 3, [("1", "ta"), ("", "-loss")]))) == "\x1b[1;1H"


def test_only_the_cells_that_differ_are_sent() -> None:
    screen = Screen()
    screen.news(frame((1, 1, [("", "step 10 of 12")])))
    assert screen.news(frame((1, 1, [("", "step 11 of 12")]))) == "\x1b[1;7H1\x1b[1;1H"
    assert screen.news(frame((1, 1, [("1", "step 11 of 12")]))).startswith("\x1b[1;1H\x1b[1mstep 11 of 12")


def test_half_of_a_wide_character_is_never_sent() -> None:
    screen = Screen()
    screen.news(frame((1, 1, [("", "a字b")])))
    sent = screen.news(frame((1, 1, [("", "aa字")])))
    assert seen(frame((1, 1, [("", "a字b")])), sent) == seen(frame((1, 1, [("", "aa字")])))


@pytest.mark.parametrize("text", ["\x1b]52;c;aGk=\x07", "\x1b[?2026h", "\x1b[?25l", "plain"])
def test_what_is_no_frame_goes_as_it_is(text: str) -> None:
    assert Screen().news(text) == text


def test_another_screen_is_not_known() -> None:
    screen, drawn = Screen(), frame((1, 1, [("", "words")]))
    screen.news(drawn)
    screen.news("\x1b[?1049h")
    assert screen.news(drawn) == drawn.replace("\n", "")


def test_after_a_while_it_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, drawn = Screen(), frame((1, 1, [("", "words")]))
    screen.news(drawn)
    monkeypatch.setattr(screen_diff, "KEPT", 0.0)
    assert screen.news(drawn) == drawn.replace("\n", "")


def test_sequences_that_are_no_styles_are_left_alone() -> None:
    link = "\x1b]8;;https://example.org\x1b\\words\x1b]8;;\x1b\\"
    screen = Screen()
    for _ in range(2):
        assert screen.news(f"\x1b[1;1H{link}\x1b[1;1H") == f"\x1b[1;1H{link}\x1b[1;1H"
    assert re.search("words", screen.news(frame((1, 1, [("", "words")]))))
