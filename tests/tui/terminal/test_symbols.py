from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from metatui.tui.colors import palette
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


def test_tmux_is_queried_only_inside_tmux(tmp_path: object) -> None:
    assert symbols.tmux_utf8({"PATH": str(tmp_path)}) is None
    assert symbols.tmux_utf8({"TMUX": "/nowhere,1,0", "PATH": str(tmp_path)}) is None


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


def test_colours_of_runs_are_distinct() -> None:
    for dark in (True, False):
        shades = [palette.shade(name, dark) for name in (*palette.RUN_HUES, palette.BEFORE, palette.TRUTH)]
        assert len(set(shades)) == len(shades)


def test_shade_depends_on_the_background() -> None:
    dark, light = (palette.shade(palette.RUN_HUES[1], dark) for dark in (True, False))
    assert palette.shade(dark, dark=False) == light
    assert palette.shade(light, dark=True) == dark
    assert palette.shade("#123456", dark=True) == "#123456"
    assert palette.shade(palette.TRAIN, dark=True, ansi=True) == "bright_blue"


def _linear(shade: str) -> list[float]:
    parts = [int(shade[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
_BLINDNESS = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def _lab(rgb: list[float]) -> list[float]:
    weights = ((0.4339, 0.3762, 0.1899), (0.2126, 0.7152, 0.0722), (0.0177, 0.1095, 0.8728))
    x, y, z = (sum(w * part for w, part in zip(row, rgb, strict=True)) for row in weights)
    x, y, z = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in (x, y, z))
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("blindness", _BLINDNESS)
def test_colours_of_runs_with_colour_vision_deficiency(dark: bool, blindness: str) -> None:
    seen = {}
    for name in (*palette.RUN_HUES, palette.BEFORE, palette.TRUTH):
        rgb = _linear(palette.shade(name, dark))
        mixed = [sum(w * part for w, part in zip(row, rgb, strict=True)) for row in _BLINDNESS[blindness]]
        seen[name] = _lab([min(1.0, max(0.0, part)) for part in mixed])
    for one, other in itertools.combinations(seen, 2):
        difference = sum((a - b) ** 2 for a, b in zip(seen[one], seen[other], strict=True)) ** 0.5
        assert difference > 15, (one, other)
