"""Text from outside (file names, titles, messages of other programs), made safe to show in a terminal."""

from __future__ import annotations


def sanitize(text: str, *, limit: int = 200) -> str:
    """`text` on one line, without control characters or lone surrogates, and not longer than `limit`."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " if c in "\n\t" else "�" for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
