"""Query that asks the terminal whether it understands escape sequences."""

from __future__ import annotations

import os
import re
import select
import termios
import tty
from typing import Final

QUESTION: Final = b"\x1b[6n"
"""Asks for the position of the cursor (DSR)."""
REPLY: Final = re.compile(rb"\x1b\[\d+;\d+R")
WAIT: Final = 0.5
"""Seconds to wait for each part of the reply."""
LONGEST: Final = 4096
"""Maximum number of bytes to read, in case someone types or pastes in the meantime."""


def moves_cursor(keyboard: int = 0, screen: int = 1) -> bool:
    """Return whether the terminal answers where its cursor is.

    `TERM=dumb` is also set where the terminal is not dumb, for example by editors and by tools that start shells.

    Args:
        keyboard, screen: file descriptors of the terminal.
    """
    try:
        before = termios.tcgetattr(keyboard)
        tty.setcbreak(keyboard)
    except termios.error:
        return False
    received = b""
    try:
        os.write(screen, QUESTION)
        while len(received) < LONGEST and select.select([keyboard], [], [], WAIT)[0]:
            part = os.read(keyboard, LONGEST)
            received += part
            if not part or REPLY.search(received):
                break
    except OSError:  # the terminal was closed
        return False
    finally:
        termios.tcsetattr(keyboard, termios.TCSANOW, before)
    return REPLY.search(received) is not None
