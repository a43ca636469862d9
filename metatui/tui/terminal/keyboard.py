"""Keyboard driver that reports escape sooner than Textual's own driver and tolerates invalid input."""

from __future__ import annotations

import os
import re
import selectors
from codecs import getincrementaldecoder
from contextlib import suppress

from textual import constants
from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

EXIT_CHECK_SECONDS = 0.1
"""Interval in seconds at which the keyboard thread checks whether it should end."""

ESCAPE = "\x1b"

SEQUENCE_START = re.compile(f"(?={ESCAPE})")


class TerminalLost(Message):
    """Posted when the terminal is closed. A hang-up signal is not always sent in this case."""


class Keyboard(LinuxDriver):
    """Textual's driver, changed to report escape after `ESCDELAY` milliseconds instead of up to 100."""

    def run_input_thread(self) -> None:
        # Terminals also send bytes that are not UTF-8: 8-bit meta keys, X10 mouse reports, text pasted as Latin-1.
        parser, decode = XTermParser(self._debug), getincrementaldecoder("utf-8")("replace").decode
        escape_pending = False
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(constants.ESCAPE_DELAY if escape_pending else EXIT_CHECK_SECONDS):
                    data = self._read()
                    if not data:
                        self._app.post_message(TerminalLost())
                        return
                    text = decode(data)
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

    def _read(self) -> bytes:
        """Return input bytes; empty if the terminal is closed."""
        try:
            return os.read(self.fileno, 4096)
        except OSError:
            return b""
