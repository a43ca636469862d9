"""Which glyphs a terminal can show, and what stands for each of them where it shows fewer."""

from __future__ import annotations

import subprocess
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Symbols(StrEnum):
    """A set of glyphs, from the finest to the safest."""

    BRAILLE = "braille"
    BLOCK = "block"
    """For fonts that lack braille or show its empty dots."""
    ASCII = "ascii"


@dataclass(frozen=True)
class Glyphs:
    levels: str
    """A sparkline's bars from lowest to highest; a character each, the first not blank."""
    marker: str
    """What plotext draws lines with: its name for a set of sub-cell dots, or one character."""
    lines: str
    """A character for each line of a chart, where colour cannot tell the lines apart."""
    points: str
    """Single points; the same for all series, or one each where colour cannot tell them apart."""
    ramp: str
    """Shades of ink from none to full, for pictures."""
    sample: str
    """A piece of line in a legend."""
    bullet: str
    up: str
    down: str
    flat: str
    arrow: str
    ellipsis: str
    dot: str
    """Between the parts of a caption."""
    speck: str
    """The smallest there is, for dotted lines."""
    right: str
    wrong: str
    done: str
    """A progress bar's filled cell."""
    todo: str
    vertical: str
    dashed: str
    """A vertical line for marks, less prominent than `vertical`."""
    thumb: str
    """The part of a scroll bar that says where one is."""
    horizontal: str
    corner: str
    tick_left: str
    tick_below: str
    border: str
    """The Textual border type that fits."""
    heavy_border: str


_UNICODE: Final = Glyphs(
    levels="▁▂▃▄▅▆▇█", marker="braille", lines="●+×◆○▲", points="●", ramp=" ░▒▓█", sample="━", bullet="•",
    up="↗", down="↘", flat="→", arrow="→", ellipsis="…", dot="·", speck="·", right="✓", wrong="✗", done="━", todo="─",
    vertical="│", dashed="┊", thumb="┃", horizontal="─", corner="└", tick_left="┤", tick_below="┬", border="round",
    heavy_border="heavy",
)  # fmt: skip

_BLOCK: Final = Glyphs(
    levels="▁▂▃▄▅▆▇█", marker="hd", lines="●+×◆○▲", points="●", ramp=" ░▒▓█", sample="█", bullet="•",
    up="↑", down="↓", flat="→", arrow="→", ellipsis="…", dot="·", speck="·", right="√", wrong="×", done="█", todo="░",
    vertical="│", dashed="│", thumb="█", horizontal="─", corner="└", tick_left="┤", tick_below="┬", border="solid",
    heavy_border="double",
)  # fmt: skip

_ASCII: Final = Glyphs(
    levels="_.-:=+*#", marker="*", lines="*+xo%&", points="@", ramp=" .:-=+*#%@", sample="*", bullet="*",
    up="^", down="v", flat="-", arrow="->", ellipsis="...", dot="|", speck=".", right="y", wrong="n", done="#",
    todo="-", vertical="|", dashed=":", thumb="#", horizontal="-", corner="+", tick_left="+", tick_below="+",
    border="ascii", heavy_border="ascii",
)  # fmt: skip

GLYPHS: Final[Mapping[Symbols, Glyphs]] = {
    Symbols.BRAILLE: _UNICODE,
    Symbols.BLOCK: _BLOCK,
    Symbols.ASCII: _ASCII,
}


def detect(environ: Mapping[str, str], encoding: str | None, tmux_utf8: bool | None = None) -> Symbols:
    """The finest set that this terminal is sure to show.

    Args:
        environ: The environment; `TERM` is read.
        encoding: Of the stream that the app draws on; None where there is none.
        tmux_utf8: Whether the tmux client sends UTF-8 on: tmux replaces every other glyph by `_` where it does not.
            None outside tmux, or where tmux could not be asked.
    """
    # The kernel's console has 256 or 512 glyphs, without braille, eighth bars and quadrants.
    if environ.get("TERM", "") in ("", "dumb", "linux", "vt100", "vt102", "vt220"):
        return Symbols.ASCII
    if encoding is None or encoding.lower().replace("-", "").replace("_", "") not in ("utf8", "utf8sig"):
        return Symbols.ASCII
    return Symbols.ASCII if tmux_utf8 is False else Symbols.BRAILLE


def tmux_utf8(environ: Mapping[str, str]) -> bool | None:
    """Whether the attached tmux client takes UTF-8; None outside tmux or if tmux does not answer within a second."""
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
        "▶": ">", "▼": "v", "✓": "y", "✗": "n", "√": "y", "≤": "<=", "≥": ">=", "≈": "~", "≠": "!=", "∞": "inf",
        "α": "alpha", "β": "beta", "γ": "gamma", "ε": "epsilon", "η": "eta", "θ": "theta", "λ": "lambda", "μ": "mu",
        "π": "pi", "σ": "sigma", "φ": "phi", "Δ": "Delta", "∇": "grad ", "°": " deg", "²": "^2", "³": "^3",
        "’": "'", "‘": "'", "“": '"', "”": '"', "\u00a0": " ", "\u202f": " ",
        "│": "|", "┊": ":", "─": "-", "━": "-", "└": "+", "┘": "+", "┌": "+", "┐": "+", "┤": "+", "├": "+", "┬": "+",
        "┴": "+", "┼": "+", "█": "#", "▇": "#", "▀": '"', "▄": "_", "░": ".", "▒": ":", "▓": "%", "⏸": "=", "⏵": ">",
    }
)  # fmt: skip


def ascii(text: str) -> str:  # noqa: A001 - the name of the encoding is the name of the function
    """`text` in ASCII alone: the program's own glyphs by name, accents dropped, anything else as `?`.

    May be longer than `text`, so it comes before anything is measured.
    """
    if text.isascii():
        return text
    plain = unicodedata.normalize("NFKD", text.translate(_ASCII_TEXT))
    kept = "".join(char for char in plain if not unicodedata.combining(char))
    return kept.encode("ascii", "replace").decode()
