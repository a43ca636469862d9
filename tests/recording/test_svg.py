"""Tests that recorded pictures match the screen in tmux, and contain no paths of the recording machine."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.recording.svg import screen_svg

RECORDED = sorted((Path(__file__).parent / "pictures").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"


def test_backgrounds_reach_the_last_column() -> None:
    picture = screen_svg(b"a\x1b[48;2;1;2;3m  \n    \x1b[49m", 4, 2, "t")
    (path,) = re.findall(r'fill="#010203"[^>]* d="([^"]*)"', picture)
    assert path == "M8 0h16v16h-16zM0 16h32v16h-32z"


def test_words_keep_their_cells_and_styles() -> None:
    picture = screen_svg(b" one two  \x1b[1;38;2;9;8;7m<three> \xe2\x86\x98x", 20, 1, "t")
    texts = ElementTree.fromstring(picture).iter(f"{SVG}text")
    assert [(text.get("x"), text.get("textLength"), text.text) for text in texts] == [
        ("8", "56", "one two"), ("80", "56", "<three>"), ("144", "8", "↘"), ("152", "8", "x"),
    ]  # fmt: skip
    assert '<g fill="#090807" font-weight="bold">' in picture


def test_line_characters_are_drawn() -> None:
    picture = screen_svg("⡀█━╭".encode(), 4, 1, "t")
    assert "M1 13h2v2h-2z" in picture  # the lower left dot
    assert "M8 0h8v16h-8z" in picture
    assert 'stroke-width="3" d="M16 8h8"' in picture
    assert "M28 16V12q0 -4 4 -4" in picture
    assert "<text" not in picture


def test_reversed_cells_swap_colours() -> None:
    picture = screen_svg(b"\x1b[7;38;2;1;1;1;48;2;2;2;2mx", 1, 1, "t")
    assert '<g fill="#020202">' in picture
    assert 'fill="#010101"' in picture


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_pictures(path: Path) -> None:
    text = path.read_text()
    assert len(text) < 150_000
    assert ElementTree.fromstring(text).tag == f"{SVG}svg"
    assert not re.search(r"/(root|home|work|Users)/|https?://(?!www\.w3\.org/2000/svg)", text)


def test_both_sizes_have_all_steps() -> None:
    small, large = (
        [p.stem.removeprefix(size) for p in RECORDED if p.stem.startswith(size)] for size in ("80x24-", "160x48-")
    )
    assert small == large
    assert [int(step[:2]) for step in small] == list(range(1, 22))
