"""Functions that prepare text for display, for example by wrapping lines or sanitising untrusted text."""

from __future__ import annotations

import re
import textwrap
from typing import Any, Final

NO_BREAK_SPACE: Final = "\u00a0"
_WITHIN_VALUES: Final = re.compile(r" (?=(?:[=<>±]|\+/-) )|(?<= [=<>±]) |(?<= \+/-) |(?<=\d) (?=%)")


def wrap_text(text: str, width: int, **options: Any) -> list[str]:
    """Wrap `text` like `textwrap.wrap`, but not at no-break spaces or within values such as `p < 0.01` and `95 ± 1 %`.

    Args:
        options: options of `textwrap.wrap`.
    """
    words = _WITHIN_VALUES.sub(NO_BREAK_SPACE, text).split(" ")
    kept = (word if len(word) <= width else word.replace(NO_BREAK_SPACE, " ") for word in words)
    return [line.replace(NO_BREAK_SPACE, " ") for line in textwrap.wrap(" ".join(kept), width, **options)]


def format_count(count: int, noun: str) -> str:
    """Format a number of things: `1 run`, `1,200 runs`, `5 classes`, `2 queries`."""
    if count == 1:
        return f"1 {noun}"
    if noun.endswith("query"):
        return f"{count:,} {noun[:-1]}ies"
    return f"{count:,} {noun}{'es' if noun.endswith('s') else 's'}"


def as_sentence(text: str) -> str:
    """Begin `text` with a capital letter, unless its first word may be a name, such as a setting or a file."""
    is_word = re.match(r"(?!metatui\b)[a-z]+[ ,:]", text)
    return text[0].upper() + text[1:] if is_word else text


def sanitize(text: str, *, limit: int = 200) -> str:
    """Return `text` on one line, without control characters or lone surrogates, at most `limit` characters long."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " if c in "\n\t" else "�" for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
