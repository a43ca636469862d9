"""Tests of the question to the terminal whether it understands escape sequences."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator

import pytest

from metatui.tui.terminal import cursor_query
from metatui.tui.terminal.cursor_query import QUESTION, moves_cursor


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Yield both ends of a pseudo-terminal: that of the terminal emulator, and that of the program."""
    emulator, program = os.openpty()
    yield emulator, program
    os.close(emulator)
    os.close(program)


@pytest.mark.parametrize(("reply", "answer"), [(b"x\x1b[12;5R", True), (b"x\x1b[A", False)])
def test_terminals_that_reply_move_the_cursor(
    terminal: tuple[int, int], monkeypatch: pytest.MonkeyPatch, reply: bytes, answer: bool
) -> None:
    emulator, program = terminal
    before = termios.tcgetattr(program)
    write = os.write

    def answered(descriptor: int, data: bytes) -> int:
        """Write the question, and reply to it as a terminal emulator would."""
        count = write(descriptor, data)
        if data == QUESTION:
            write(emulator, reply)
        return count

    monkeypatch.setattr(os, "write", answered)
    monkeypatch.setattr(cursor_query, "WAIT", 0.05)
    assert moves_cursor(program, program) is answer
    assert termios.tcgetattr(program) == before
    assert os.read(emulator, 100).startswith(QUESTION)


def test_a_file_does_not_move_the_cursor() -> None:
    with open(os.devnull) as file:
        assert not moves_cursor(file.fileno(), file.fileno())
