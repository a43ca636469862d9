"""Redirection of terminal output to the log, except the output of the app itself."""

from __future__ import annotations

import errno
import faulthandler
import io
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

logger = logging.getLogger(__name__)


@contextmanager
def redirect_output(log: BinaryIO) -> Iterator[None]:
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
    handler.setFormatter(logging.Formatter("%(asctime)s process %(process)d %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("metatui").addHandler(handler)
    threading.excepthook, thread_hook = _log_thread_failure, threading.excepthook
    try:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        faulthandler.enable(log)  # the traceback of a crash in native code
        sys.__stdout__, sys.__stderr__ = streams  # type: ignore[misc]
        yield
    finally:
        threading.excepthook = thread_hook
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


def _log_thread_failure(failure: threading.ExceptHookArgs) -> None:
    """Log the exception of a thread, with the time and the process."""
    error = failure.exc_value
    if isinstance(error, SystemExit):
        return
    if isinstance(error, OSError) and error.errno == errno.EIO:  # Textual writes to a terminal that is gone
        logger.warning("the terminal was closed")
    else:
        logger.error("the thread %s failed", failure.thread.name if failure.thread else "?", exc_info=error)
