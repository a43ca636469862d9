"""Sets of glyphs (characters for charts and marks) for terminals with and without Unicode support."""

from __future__ import annotations

import subprocess
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class Symbols(StrEnum):
    """Names of the glyph sets, from the finest to the most portable."""

    BRAILLE = "braille"
    BLOCK = "block"
    """Block characters, for fonts that lack braille or show its empty dots."""
    ASCII = "ascii"


class Glyphs(NamedTuple):
    """The characters of a glyph set. Each field is named after the purpose of its characters."""

    levels: str
    """Characters for the bars of a sparkline, lowest bar first."""
    marker: str
    """Plotext marker for lines: one character, or the name of a marker with several dots per cell."""
    lines: str
    """Characters that draw the lines of a chart without colours, a different one for each line."""
    points: str
    """Character for single points."""
    rings: str
    """Character for less important single points."""
    ramp: str
    """Characters for the shades of grey of images, from blank to filled."""
    sample: str
    """Character for the sample of a line in a legend."""
    bullet: str
    up: str
    down: str
    flat: str
    arrow: str
    ellipsis: str
    dot: str
    """Character that separates the parts of a caption."""
    speck: str
    """Smallest character, for dotted lines."""
    right: str
    wrong: str
    done: str
    """Character for a filled cell of a progress bar."""
    todo: str
    vertical: str
    dashed: str
    """Character for the vertical lines of marks in charts, less prominent than `vertical`."""
    thumb: str
    """Character for the thumb of a scroll bar."""
    horizontal: str
    corner: str
    tick_left: str
    tick_below: str


_UNICODE: Final = Glyphs(
    levels="▁▂▃▄▅▆▇█", marker="braille", lines="+×◆▲■□", points="●", rings="○", ramp=" ░▒▓█", sample="━", bullet="•",
    up="↗", down="↘", flat="→", arrow="→", ellipsis="…", dot="·", speck="·", right="✓", wrong="✗", done="━", todo="─",
    vertical="│", dashed="┊", thumb="┃", horizontal="─", corner="└", tick_left="┤", tick_below="┬",
)  # fmt: skip

_BLOCK: Final = Glyphs(
    levels="▁▂▃▄▅▆▇█", marker="hd", lines="+×◆▲■□", points="●", rings="○", ramp=" ░▒▓█", sample="█", bullet="•",
    up="↑", down="↓", flat="→", arrow="→", ellipsis="…", dot="·", speck="·", right="√", wrong="×", done="█", todo="░",
    vertical="│", dashed="│", thumb="█", horizontal="─", corner="└", tick_left="┤", tick_below="┬",
)  # fmt: skip

_ASCII: Final = Glyphs(
    levels="_.-:=+*#", marker="*", lines="*+x%&=", points="@", rings="o", ramp=" .:-=+*#%@", sample="*", bullet="*",
    up="^", down="v", flat="-", arrow="->", ellipsis="...", dot="|", speck=".", right="y", wrong="n", done="#",
    todo="-", vertical="|", dashed=":", thumb="#", horizontal="-", corner="+", tick_left="+", tick_below="+",
)  # fmt: skip

GLYPHS: Final[Mapping[Symbols, Glyphs]] = {
    Symbols.BRAILLE: _UNICODE,
    Symbols.BLOCK: _BLOCK,
    Symbols.ASCII: _ASCII,
}


def detect(environ: Mapping[str, str], encoding: str | None, tmux_utf8: bool | None = None) -> Symbols:
    """Return the finest glyph set that the terminal is known to support.

    Args:
        environ: environment variables; only `TERM` and the locale are read.
        encoding: encoding of the stream on which the app is drawn, or None if it is unknown.
        tmux_utf8: whether the tmux client uses UTF-8, or None if this is unknown or the app does not run in tmux. If
            the client does not use UTF-8, tmux replaces non-ASCII characters with `_`.
    """
    # The kernel's console has 256 or 512 glyphs, without braille, eighth bars and quadrants.
    if environ.get("TERM", "") in ("", "dumb", "linux", "vt100", "vt102", "vt220"):
        return Symbols.ASCII
    if is_ascii_only(environ):
        return Symbols.ASCII
    if encoding is None or encoding.lower().replace("-", "").replace("_", "") not in ("utf8", "utf8sig"):
        return Symbols.ASCII
    return Symbols.ASCII if tmux_utf8 is False else Symbols.BRAILLE


def is_ascii_only(environ: Mapping[str, str]) -> bool:
    """Return whether only ASCII may be drawn, because the user has chosen the C locale or a dumb terminal."""
    return environ.get("TERM") == "dumb" or _locale(environ) in ("C", "POSIX")


def _locale(environ: Mapping[str, str]) -> str:
    """Return the locale that the user has chosen for characters (LC_CTYPE), or an empty string if none is chosen."""
    everything, language = environ.get("LC_ALL", ""), environ.get("LANG", "")
    characters = environ.get("LC_CTYPE", "")
    if not everything and characters == "C.UTF-8" and language in ("C", "POSIX"):
        return language  # Python sets LC_CTYPE in the C locale (PEP 538)
    return everything or characters or language


def tmux_utf8(environ: Mapping[str, str]) -> bool | None:
    """Return whether the attached tmux client uses UTF-8.

    The result is None outside tmux, or if tmux does not reply within a second.
    """
    if "TMUX" not in environ:
        return None
    try:
        answer = subprocess.run(
            ["tmux", "display-message", "-p", "#{client_utf8}"],
            capture_output=True, text=True, timeout=1, env=dict(environ), check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return {"1": True, "0": False}.get(answer.stdout.strip())


_ASCII_TEXT: Final = str.maketrans(
    {
        "±": "+/-", "×": "x", "÷": "/", "−": "-", "–": "-", "—": "-", "…": "...", "→": "->", "←": "<-", "↔": "<->",
        "↑": "^", "↓": "v", "↗": "^", "↘": "v", "·": "|", "•": "*", "●": "*", "○": "o", "◆": "#", "▲": "^",
        "■": "#", "□": "o", "▶": ">", "▼": "v", "✓": "y", "✗": "n", "√": "y", "≤": "<=", "≥": ">=", "≈": "~",
        "≠": "!=", "∞": "inf", "µ": "u", "⁻": "^-", "‖": "||", "∘": "*", "Σ": "sum", "↻": "rot ",
        "δ": "delta", "τ": "tau",
        "α": "alpha", "β": "beta", "γ": "gamma", "ε": "epsilon", "η": "eta", "θ": "theta", "λ": "lambda", "μ": "mu",
        "π": "pi", "σ": "sigma", "φ": "phi", "Δ": "Delta", "∇": "grad ", "°": " deg", "²": "^2", "³": "^3",
        "’": "'", "‘": "'", "“": '"', "”": '"', "\u00a0": " ", "\u202f": " ",
        "│": "|", "┊": ":", "─": "-", "━": "-", "└": "+", "┘": "+", "┌": "+", "┐": "+", "┤": "+", "├": "+", "┬": "+",
        "┴": "+", "┼": "+", "█": "#", "▇": "#", "▀": '"', "▄": "_", "░": ".", "▒": ":", "▓": "%", "⏸": "=", "⏵": ">",
        "▔": "-", "▁": "-", "▂": "#", "▃": "#", "▅": "#", "▆": "#",  # horizontal borders, ends of scroll bars
    }
)  # fmt: skip


def ascii(text: str) -> str:  # noqa: A001 - named after the encoding
    """Return `text` in ASCII: known glyphs are spelled out, accents are dropped, and other characters become `?`.

    The result may be longer than `text`, so measure it afterwards.
    """
    if text.isascii():
        return text
    plain = unicodedata.normalize("NFKD", text.translate(_ASCII_TEXT))
    kept = "".join(char for char in plain if not unicodedata.combining(char))
    return kept.encode("ascii", "replace").decode()
