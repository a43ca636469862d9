"""Replacement of unencodable characters in the output of commands."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys

from metatui.tui.terminal import symbols

SPELLED_OUT = "metatui.spelled_out"
"""Name of the codec error handler that replaces characters that an encoding cannot represent."""


def use_characters_of_terminal() -> None:
    """Make standard output and standard error replace characters that their encoding cannot represent.

    In the C locale, Python uses UTF-8 (PEP 540), although the terminal may be unable to display it. Therefore, all
    non-ASCII characters are replaced in this locale.
    """
    codecs.register_error(SPELLED_OUT, _spelled_out)
    ascii_only = symbols.is_ascii_only(os.environ)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            encoding = "ascii" if ascii_only else stream.encoding
            stream.reconfigure(encoding=encoding, errors=SPELLED_OUT)  # type: ignore[union-attr]


def replace_unencodable(text: str, encoding: str) -> str:
    """Return `text` with substitutes for the characters that `encoding` cannot represent."""
    if text.isascii():
        return text
    try:
        return text.encode(encoding, SPELLED_OUT).decode(encoding)
    except LookupError:  # an unknown encoding, or a program that does not use `main`
        return symbols.ascii(text)


def _spelled_out(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return symbols.ascii(error.object[error.start : error.end]), error.end
