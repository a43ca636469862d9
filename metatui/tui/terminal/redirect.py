"""Redirection of all output except the app's own from the terminal to the log."""

from __future__ import annotations

import faulthandler
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO


@contextmanager
def own_terminal(log: BinaryIO) -> Iterator[None]:
    """Redirect file descriptors 1 and 2 to `log`.

    Native libraries (CUDA, NCCL, OpenMP) write directly to the descriptors. Textual measures the terminal through
    `sys.__stdout__` and draws on `sys.__stderr__`, so these become duplicates of the original descriptors.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    # If standard error is a file, the app is drawn on standard output.
    terminal = os.dup(1), os.dup(2 if os.isatty(2) else 1)
    errors = os.dup(2)
    before = sys.__stdout__, sys.__stderr__
    streams = [
        io.TextIOWrapper(io.FileIO(descriptor, "w", closefd=False), encoding="utf-8", errors="replace")
        for descriptor in terminal
    ]
    handler = logging.StreamHandler(io.TextIOWrapper(log, encoding="utf-8", errors="replace", write_through=True))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("metatui").addHandler(handler)
    try:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        faulthandler.enable(log)  # the traceback of a crash in native code
        sys.__stdout__, sys.__stderr__ = streams  # type: ignore[misc]
        yield
    finally:
        faulthandler.disable()
        sys.__stdout__, sys.__stderr__ = before  # type: ignore[misc]
        for stream in streams:
            with suppress(OSError):  # the terminal may be closed
                stream.close()
        os.dup2(terminal[0], 1)
        os.dup2(errors, 2)
        for descriptor in (*terminal, errors):
            os.close(descriptor)
        logging.getLogger("metatui").removeHandler(handler)
        handler.stream.detach()  # the caller closes the log
