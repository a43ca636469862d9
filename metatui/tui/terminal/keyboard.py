"""Reading the keyboard, so that an escape is answered as soon as it is known to be one."""

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

AT_REST = 0.1
"""Seconds after which the thread looks whether it is to end."""

ESCAPE = "\x1b"

SEQUENCE_START = re.compile(f"(?={ESCAPE})")


class TerminalLost(Message):
    """There will be no more keys. Not every terminal that goes away sends a hang-up signal as well."""


class Keyboard(LinuxDriver):
    """Textual's driver, which after an escape looks only ten times a second whether another byte has made it the first
    of some other key. Here it is looked at when the time for that (`ESCDELAY`, in milliseconds) is over."""

    def run_input_thread(self) -> None:
        # Terminals also send bytes that are not UTF-8: 8-bit meta keys, X10 mouse reports, text pasted as Latin-1.
        parser, decode = XTermParser(self._debug), getincrementaldecoder("utf-8")("replace").decode
        waiting = False
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(constants.ESCAPE_DELAY if waiting else AT_REST):
                    data = self._read()
                    if not data:
                        self._app.post_message(TerminalLost())
                        return
                    text = decode(data)
                    waiting = text.endswith(ESCAPE)
                    for sequence in filter(None, SEQUENCE_START.split(text)):
                        try:
                            for event in parser.feed(sequence):
                                self.process_message(event)
                        except (ValueError, OverflowError):
                            # Textual's parser raises for sequences with invalid numbers, and is then unusable.
                            parser = XTermParser(self._debug)
                for event in parser.tick():
                    waiting = False
                    self.process_message(event)
        with suppress(EOFError, ParseError):
            for _ in parser.feed(""):
                pass

    def _read(self) -> bytes:
        """What was typed; nothing where the terminal is gone."""
        try:
            return os.read(self.fileno, 4096)
        except OSError:
            return b""
