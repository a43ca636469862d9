"""Tests of asking a terminal whether it can move the cursor and whether it can show sixel graphics."""

from __future__ import annotations

import os
import termios
from collections.abc import Callable, Iterator

import pytest

from metatui.tui.terminal import cursor_query
from metatui.tui.terminal.cursor_query import QUESTION, moves_cursor, shows_sixels


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Yield the file descriptors of the two ends of a pseudo-terminal: the emulator's end, then the program's end."""
    emulator, program = os.openpty()
    yield emulator, program
    os.close(emulator)
    os.close(program)


@pytest.fixture
def answer(terminal: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, bytes], None]:
    """Return a function that makes the emulator send a given reply when the program sends a given query."""
    emulator, _ = terminal
    write = os.write
    monkeypatch.setattr(cursor_query, "WAIT", 0.05)
    monkeypatch.setattr(cursor_query, "typed", bytearray())

    def reply_to(question: bytes, reply: bytes) -> None:
        def answered(descriptor: int, data: bytes) -> int:
            count = write(descriptor, data)
            if data == question:
                write(emulator, reply)
            return count

        monkeypatch.setattr(os, "write", answered)

    return reply_to


@pytest.mark.parametrize(("reply", "moves"), [(b"x\x1b[12;5R", True), (b"x\x1b[A", False)])
def test_terminals_that_reply_move_the_cursor(
    terminal: tuple[int, int], answer: Callable[[bytes, bytes], None], reply: bytes, moves: bool
) -> None:
    emulator, program = terminal
    before = termios.tcgetattr(program)
    os.write(emulator, b"k\n")
    answer(QUESTION, reply)
    assert moves_cursor(program, program) is moves
    assert bytes(cursor_query.typed) == (b"k\nx" if moves else b"k\nx\x1b[A")
    assert termios.tcgetattr(program) == before
    assert QUESTION in os.read(emulator, 100)


@pytest.mark.parametrize(
    ("reply", "shows"),
    [(b"x\x1b[?62;4;22c", True), (b"\x1b[?62;22c", False), (b"\x1b[?4;6c", False), (b"\x1b[A", False)],
)  # fmt: skip
def test_terminals_say_that_they_show_sixels(
    terminal: tuple[int, int], answer: Callable[[bytes, bytes], None], reply: bytes, shows: bool
) -> None:
    answer(b"\x1b[c", reply)
    assert shows_sixels(terminal[1], terminal[1]) is shows


def test_a_file_is_no_terminal() -> None:
    with open(os.devnull) as file:
        assert not moves_cursor(file.fileno(), file.fileno())
        assert not shows_sixels(file.fileno(), file.fileno())


def test_a_terminal_that_is_closed_does_not_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    emulator, program = os.openpty()
    monkeypatch.setattr(os, "write", lambda descriptor, data: os.close(emulator))
    assert not moves_cursor(program, program)
    os.close(program)
