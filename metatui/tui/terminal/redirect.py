"""The terminal kept to the app alone: what libraries print goes to the log, not over the screen."""

from __future__ import annotations

import faulthandler
import io
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from metatui.tui.terminal.screen_diff import Screen


class DiffWriter(io.TextIOWrapper):
    """The terminal as it is drawn on. Written to by one thread, which a terminal that takes nothing more holds up;
    asked by another whether it does."""

    def __init__(self, descriptor: int) -> None:
        """`descriptor` is not closed with the outlet."""
        raw = io.FileIO(descriptor, "wb", closefd=False)
        super().__init__(io.BufferedWriter(raw), encoding="utf-8", errors="replace")
        self._screen = Screen()
        self._since: float | None = None

    def forget(self) -> None:
        """What was drawn may not be there any more: the next frame is sent whole. May be called in any thread."""
        self._screen = Screen()

    @property
    def held_up(self) -> float:
        """Seconds for which the terminal has been taking what is being written to it; 0 where nothing is."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def write(self, text: str) -> int:
        news = self._screen.news(text)
        self._since = time.monotonic()
        try:
            super().write(news)
        finally:
            self._since = None
        return len(text)

    def flush(self) -> None:
        self._since = time.monotonic()
        try:
            super().flush()
        finally:
            self._since = None


@contextmanager
def own_terminal(log: BinaryIO) -> Iterator[DiffWriter]:
    """Redirect file descriptors 1 and 2 to `log` while the app runs. Yields the stream that the app draws on.

    Native libraries (CUDA, NCCL, OpenMP) write to the descriptors themselves. Textual measures the terminal by
    `sys.__stdout__` and draws on `sys.__stderr__`, so these become duplicates of the original 1 and 2.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    # Where standard error goes to a file, the app is drawn on standard output.
    kept = os.dup(1), os.dup(2 if os.isatty(2) else 1)
    errors = os.dup(2)
    before = sys.__stdout__, sys.__stderr__
    streams = [DiffWriter(descriptor) for descriptor in kept]
    handler = logging.StreamHandler(io.TextIOWrapper(log, encoding="utf-8", errors="replace", write_through=True))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("metatui").addHandler(handler)
    try:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        faulthandler.enable(log)  # the traceback of a crash in native code
        sys.__stdout__, sys.__stderr__ = streams  # type: ignore[misc]
        yield streams[1]
    finally:
        faulthandler.disable()
        sys.__stdout__, sys.__stderr__ = before  # type: ignore[misc]
        for stream in streams:
            with suppress(OSError):  # the terminal may be gone
                stream.close()  # which flushes, and leaves the descriptor
        os.dup2(kept[0], 1)
        os.dup2(errors, 2)
        for descriptor in (*kept, errors):
            os.close(descriptor)
        logging.getLogger("metatui").removeHandler(handler)
        handler.stream.detach()  # the caller closes the log
