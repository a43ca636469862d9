"""Queries to the terminal, made before the app starts."""

from __future__ import annotations

import os
import re
import select
import termios
import tty
from contextlib import suppress
from typing import Final

QUESTION: Final = b"\x1b[6n"
"""Escape sequence that asks for the position of the cursor (DSR)."""
REPLY: Final = re.compile(rb"\x1b\[\d+;\d+R")
ATTRIBUTES: Final = re.compile(rb"\x1b\[\?[\d;]*c")
"""Pattern of the reply to a query for the device attributes (DA1)."""
WAIT: Final = 0.5
"""Seconds to wait for each part of the reply."""
MAX_BYTES: Final = 4096
"""Maximum number of bytes to read before giving up. Keys and pasted text may arrive before the reply."""

typed: Final = bytearray()
"""Keys that arrived before the replies. The app handles them when it starts."""


def moves_cursor(keyboard: int = 0, screen: int = 1) -> bool:
    """Return whether the terminal reports the position of its cursor.

    `TERM` is not reliable: editors and tools that start shells set it to `dumb` even if the terminal can move the
    cursor.

    Args:
        keyboard, screen: file descriptors of the terminal.
    """
    return _reply(QUESTION, REPLY, keyboard, screen) is not None


def shows_sixels(keyboard: int = 0, screen: int = 1) -> bool:
    """Return whether the terminal reports support for sixel graphics. The arguments are those of `moves_cursor`."""
    reply = _reply(b"\x1b[c", ATTRIBUTES, keyboard, screen) or b""
    return b"4" in reply[3:-1].split(b";")[1:]


def _reply(question: bytes, expected: re.Pattern[bytes], keyboard: int, screen: int) -> bytes | None:
    """Send `question` to the terminal and return its reply, or None if the expected reply does not arrive."""
    try:
        before = termios.tcgetattr(keyboard)
        tty.setcbreak(keyboard, termios.TCSANOW)  # the default would discard keys that the user has typed ahead
    except termios.error:
        return None
    received = b""
    try:
        os.write(screen, question)
        while len(received) < MAX_BYTES and select.select([keyboard], [], [], WAIT)[0]:
            part = os.read(keyboard, MAX_BYTES)
            received += part
            if not part or expected.search(received):
                break
    except OSError:  # the terminal was closed
        return None
    finally:
        with suppress(termios.error):  # the terminal was closed
            termios.tcsetattr(keyboard, termios.TCSANOW, before)
    found = expected.search(received)
    typed.extend(expected.sub(b"", received))
    return found[0] if found else None
