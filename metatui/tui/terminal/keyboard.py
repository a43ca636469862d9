"""Terminal driver that reports escape sooner than Textual's, tolerates invalid input, and forwards terminal replies."""

from __future__ import annotations

import fcntl
import os
import re
import selectors
import struct
import termios
from codecs import getincrementaldecoder
from contextlib import suppress

from textual import constants
from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

from metatui.tui.terminal.cursor_query import typed
from metatui.tui.terminal.sixel import REPLY, UNFINISHED_REPLY, Reply

EXIT_CHECK_SECONDS = 0.1
"""Interval in seconds at which the keyboard thread checks whether it should end."""

ESCAPE = "\x1b"

SEQUENCE_START = re.compile(f"(?={ESCAPE})")


class TerminalLost(Message):
    """Posted when the terminal is closed. A hang-up signal is not always sent in this case."""


class Keyboard(LinuxDriver):
    """Textual's driver with a different input thread, which reports escape after `ESCDELAY` milliseconds.

    Textual's own thread takes up to 100 ms for this.
    """

    def run_input_thread(self) -> None:
        # Terminals also send bytes that are not UTF-8: 8-bit meta keys, X10 mouse reports, text pasted as Latin-1.
        parser, decode = XTermParser(self._debug), getincrementaldecoder("utf-8")("replace").decode
        escape_pending, unfinished = False, ""
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            # Until the driver has changed the mode of the terminal, the enter key arrives as a line feed.
            typed_ahead = bytes(typed) + (self._read() if selector.select(0) else b"")
            typed_ahead = typed_ahead.replace(b"\n", b"\r")
            typed.clear()
            while not self.exit_event.is_set():
                text, unfinished = unfinished, ""
                if typed_ahead or selector.select(
                    constants.ESCAPE_DELAY if escape_pending or text else EXIT_CHECK_SECONDS
                ):
                    data, typed_ahead = typed_ahead or self._read(), b""
                    if not data:
                        self._app.post_message(TerminalLost())
                        return
                    text += decode(data)
                    # Textual would take the terminal's replies for keys.
                    for reply in REPLY.findall(text):
                        self._app.post_message(Reply(reply))
                    text = REPLY.sub("", text)
                    if rest := UNFINISHED_REPLY.search(text):
                        text, unfinished = text[: rest.start()], rest[0]
                    escape_pending = text.endswith(ESCAPE)
                for sequence in filter(None, SEQUENCE_START.split(text)):
                    try:
                        for event in parser.feed(sequence):
                            self.process_message(event)
                    except (ValueError, OverflowError):
                        # Textual's parser raises for sequences with invalid numbers, and is then unusable.
                        parser = XTermParser(self._debug)
                for event in parser.tick():
                    escape_pending = False
                    self.process_message(event)
        with suppress(EOFError, ParseError):
            for _ in parser.feed(""):
                pass

    def cell_size(self) -> tuple[int, int] | None:
        """Return the width and height of a cell in pixels, as the terminal reported them to the kernel.

        The result is None if they are unknown.
        """
        try:
            rows, columns, width, height = struct.unpack("HHHH", fcntl.ioctl(self.fileno, termios.TIOCGWINSZ, bytes(8)))
        except OSError:
            return None
        return (width // columns, height // rows) if rows and columns else None

    def _read(self) -> bytes:
        """Return the next bytes of input, or no bytes if the terminal is closed."""
        try:
            return os.read(self.fileno, 4096)
        except OSError:
            return b""
