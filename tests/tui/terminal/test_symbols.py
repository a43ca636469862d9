from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from metatui.tui.terminal import symbols
from metatui.tui.terminal.symbols import GLYPHS, Symbols, detect


@pytest.mark.parametrize(
    ("term", "encoding", "tmux", "expected"),
    [
        ("xterm-256color", "utf-8", None, Symbols.BRAILLE),
        ("xterm-256color", "UTF8", None, Symbols.BRAILLE),
        ("tmux-256color", "utf-8", True, Symbols.BRAILLE),
        ("tmux-256color", "utf-8", False, Symbols.ASCII),
        ("xterm", "ANSI_X3.4-1968", None, Symbols.ASCII),
        ("xterm", "latin-1", None, Symbols.ASCII),
        ("xterm", None, None, Symbols.ASCII),
        ("linux", "utf-8", None, Symbols.ASCII),
        ("dumb", "utf-8", None, Symbols.ASCII),
    ],
)
def test_detected_glyphs(term: str, encoding: str | None, tmux: bool | None, expected: Symbols) -> None:
    assert detect({"TERM": term}, encoding, tmux) is expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Symbols.BRAILLE),
        ({"LANG": "en_US.UTF-8"}, Symbols.BRAILLE),
        ({"LANG": "C.UTF-8", "LC_CTYPE": "C.UTF-8"}, Symbols.BRAILLE),
        ({"LANG": "C", "LC_CTYPE": "en_US.UTF-8"}, Symbols.BRAILLE),
        ({"LANG": "C"}, Symbols.ASCII),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, Symbols.ASCII),  # as Python changes it
        ({"LANG": "en_US.UTF-8", "LC_ALL": "POSIX"}, Symbols.ASCII),
    ],
)
def test_glyphs_of_a_locale(variables: dict[str, str], expected: Symbols) -> None:
    assert detect({"TERM": "xterm", **variables}, "utf-8") is expected


def test_terminal_without_name_gets_ascii() -> None:
    assert detect({}, "utf-8") is Symbols.ASCII


def test_tmux_is_queried_only_inside_tmux(tmp_path: Path) -> None:
    outside = {"PATH": str(tmp_path)}
    inside = {**outside, "TMUX": "/nowhere,1,0"}
    assert symbols.tmux_utf8(inside) is None, "there is no tmux"
    tmux = tmp_path / "tmux"
    for reply, utf8 in (("1", True), ("0", False), ("", None)):
        tmux.write_text(f"#!/bin/sh\necho '{reply}'\n")
        tmux.chmod(0o755)
        assert symbols.tmux_utf8(inside) is utf8
        assert symbols.tmux_utf8(outside) is None


@given(st.text())
def test_ascii_function_returns_ascii(text: str) -> None:
    assert symbols.ascii(text).isascii()


def test_known_glyphs_are_spelled_out() -> None:
    assert symbols.ascii("α = 0.1 ± 0.02, 5×5, θ → θ′… über") == "alpha = 0.1 +/- 0.02, 5x5, theta -> theta?... uber"
    assert symbols.ascii("▔▁▂▃▅▆▇█") == "--######"


@pytest.mark.parametrize("symbol", Symbols)
def test_glyphs_are_one_cell_wide(symbol: Symbols) -> None:
    glyphs = GLYPHS[symbol]
    singles = (
        glyphs.sample,
        glyphs.bullet,
        glyphs.up,
        glyphs.down,
        glyphs.flat,
        glyphs.dot,
        glyphs.right,
        glyphs.wrong,
    )
    lines = (glyphs.done, glyphs.todo, glyphs.vertical, glyphs.horizontal, glyphs.corner, glyphs.points)
    assert [cell_len(glyph) for glyph in singles + lines] == [1] * len(singles + lines)
    assert all(cell_len(char) == 1 for char in glyphs.levels + glyphs.lines + glyphs.ramp)


def test_ascii_glyphs_are_ascii() -> None:
    assert all(value.isascii() for value in GLYPHS[Symbols.ASCII])
