"""Tests of sending pictures to the terminal with Kitty's graphics protocol."""

from __future__ import annotations

import re
import zlib
from base64 import b64decode
from random import Random

from rich.cells import cell_len

from metatui.tui.terminal import kitty
from metatui.tui.terminal.kitty import KittyPictures, Picture, is_supported, placeholders

MESSAGE = re.compile(r"\x1b_G([^;\x1b]*)(?:;([^\x1b]*))?\x1b\\")
GREY = Picture(bytes(range(6)), 2, 3, 5, 9)


def messages(written: list[str]) -> list[tuple[dict[str, str], str]]:
    """Parse Kitty graphics commands. Return the keys with their values, and the payload, of each command."""
    text = "".join(written)
    assert MESSAGE.sub("", text) == ""
    return [(dict(key.split("=") for key in keys.split(",")), data) for keys, data in MESSAGE.findall(text)]


def test_terminals_with_pictures() -> None:
    assert is_supported({"TERM": "xterm-kitty"})
    assert not is_supported({"TERM": "xterm-kitty", "TEXTUAL_COLOR_SYSTEM": "256"})
    assert not is_supported({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"})
    assert not is_supported({})


def test_a_picture_is_sent_once() -> None:
    written: list[str] = []
    pictures = KittyPictures(written.append)
    assert [pictures.number(GREY), pictures.number(GREY)] == [1, 1]
    (keys, data), (place, _) = messages(written)
    assert keys == {"i": "1", "f": "24", "o": "z", "s": "3", "v": "2", "q": "2", "m": "0"}
    assert zlib.decompress(b64decode(data)) == bytes(value for value in range(6) for _ in range(3))
    assert place == {"a": "p", "U": "1", "i": "1", "c": "9", "r": "5", "q": "2"}
    before = list(written)
    pictures.send_again()
    assert written == before * 2


def test_long_pictures_are_sent_in_chunks() -> None:
    written: list[str] = []
    colours = Random(0).randbytes(64 * 64 * 3)
    KittyPictures(written.append).number(Picture(colours, 64, 64, 5, 9))
    *chunks, _ = messages(written)
    assert [keys["m"] for keys, _ in chunks] == ["1"] * (len(chunks) - 1) + ["0"]
    assert max(len(data) for _, data in chunks) == kitty.CHUNK
    assert zlib.decompress(b64decode("".join(data for _, data in chunks))) == colours


def test_the_least_recently_used_picture_is_deleted() -> None:
    written: list[str] = []
    pictures = KittyPictures(written.append)
    for column in range(kitty.MAX_PICTURES):
        pictures.number(GREY._replace(columns=column))
    pictures.number(GREY._replace(columns=0))
    written.clear()
    assert pictures.number(GREY._replace(columns=-1)) == kitty.MAX_PICTURES + 1
    assert messages(written)[0][0] == {"a": "d", "d": "I", "i": "2", "q": "2"}


def test_placeholders_are_one_cell_wide() -> None:
    rows = placeholders(3, kitty.MAX_SIDE_CELLS)
    assert [cell_len(row) for row in rows] == [kitty.MAX_SIDE_CELLS] * 3
    cells = {cell for row in rows for cell in row.split(kitty.PLACEHOLDER)[1:]}
    assert len(cells) == 3 * kitty.MAX_SIDE_CELLS
