"""SVG paths for characters that must join their neighbours, such as lines, blocks and braille.

The characters are drawn as paths because fonts differ and a browser may lack braille. A cell is WIDTH by HEIGHT units.
A path is either filled, or follows the middle of a line and is stroked.
"""

from __future__ import annotations

from typing import Final

WIDTH, HEIGHT = 8, 16
MIDDLE_X, MIDDLE_Y = WIDTH // 2, HEIGHT // 2

LIGHT_ARMS: Final = {
    "─": "LR", "│": "UD", "┌": "RD", "┐": "LD", "└": "UR", "┘": "UL", "├": "UDR", "┤": "UDL", "┬": "LRD", "┴": "LRU",
    "┼": "LRUD",
}  # fmt: skip
HEAVY_ARMS: Final = {"━": "LR", "┃": "UD", "╸": "L", "╺": "R"}
CURVES: Final = {"╭": (1, 1), "╮": (-1, 1), "╰": (1, -1), "╯": (-1, -1)}
"""Rounded corners, with the directions of their ends: 1 for right or -1 for left, and 1 for down or -1 for up."""

# Column and row of the dots of a braille pattern, in the order of its bits.
BRAILLE_DOTS: Final = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))
BRAILLE, BRAILLE_END = 0x2800, 0x28FF


def filled(char: str, x: int, y: int) -> str:
    """Return the path of the filled shape of `char`, or an empty string if it has none.

    Args:
        x, y: top left corner of the cell.
    """
    code = ord(char)
    if BRAILLE <= code <= BRAILLE_END:
        bits = code - BRAILLE
        dots = (dot for bit, dot in enumerate(BRAILLE_DOTS) if bits >> bit & 1)
        return "".join(_box(x + 1 + 4 * column, y + 1 + 4 * row, 2, 2) for column, row in dots)
    if "▁" <= char <= "█":
        height = 2 * (code - ord("▁") + 1)
        return _box(x, y + HEIGHT - height, WIDTH, height)
    if "▉" <= char <= "▏":
        return _box(x, y, ord("▏") - code + 1, HEIGHT)
    match char:
        case "▀":
            return _box(x, y, WIDTH, MIDDLE_Y)
        case "▐":
            return _box(x + MIDDLE_X, y, MIDDLE_X, HEIGHT)
        case "▔":
            return _box(x, y, WIDTH, 2)
        case "▕":
            return _box(x + WIDTH - 1, y, 1, HEIGHT)
        case "●":
            return f"M{x + 1} {y + MIDDLE_Y}a3 3 0 1 0 6 0a3 3 0 1 0-6 0z"
        case "▶":
            return f"M{x + 1} {y + 4}l6 4-6 4z"
        case "▼":
            return f"M{x + 1} {y + 5}h6l-3 6z"
        case "▲":
            return f"M{x + 1} {y + 11}h6l-3-6z"
    return ""


def light(char: str, x: int, y: int) -> str:
    """Return the path of the thin lines of `char`, or an empty string if it has none.

    Args:
        x, y: top left corner of the cell.
    """
    if char in CURVES:
        right, down = CURVES[char]
        start = y + HEIGHT if down > 0 else y
        bend = f"q0 {-MIDDLE_X * down} {MIDDLE_X * right} {-MIDDLE_X * down}"
        return f"M{x + MIDDLE_X} {start}V{y + MIDDLE_Y + MIDDLE_X * down}{bend}"
    return _arms(LIGHT_ARMS.get(char, ""), x, y)


def heavy(char: str, x: int, y: int) -> str:
    """Return the path of the thick lines of `char`, or an empty string if it has none.

    Args:
        x, y: top left corner of the cell.
    """
    return _arms(HEAVY_ARMS.get(char, ""), x, y)


def _arms(arms: str, x: int, y: int) -> str:
    if arms == "LR":
        return f"M{x} {y + MIDDLE_Y}h{WIDTH}"
    if arms == "UD":
        return f"M{x + MIDDLE_X} {y}v{HEIGHT}"
    steps = {"L": f"h-{MIDDLE_X}", "R": f"h{MIDDLE_X}", "U": f"v-{MIDDLE_Y}", "D": f"v{MIDDLE_Y}"}
    return "".join(f"M{x + MIDDLE_X} {y + MIDDLE_Y}{steps[arm]}" for arm in arms)


def _box(x: int, y: int, width: int, height: int) -> str:
    return f"M{x} {y}h{width}v{height}h-{width}z"
