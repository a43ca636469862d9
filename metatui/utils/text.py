"""Untrusted text, such as file names and messages of other programs, made safe for a terminal."""

from __future__ import annotations


def sanitize(text: str, *, limit: int = 200) -> str:
    """Return `text` on one line, without control characters or lone surrogates, at most `limit` characters long."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " if c in "\n\t" else "�" for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
