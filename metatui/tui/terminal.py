"""The terminal kept to the app alone: what libraries print goes to the log, not over the screen."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LARGEST_LOG = 4 * 1024 * 1024


@contextmanager
def own_terminal(log: Path) -> Iterator[None]:
    """Point file descriptors 1 and 2 at `log` while the app runs.

    Native libraries (CUDA, NCCL, OpenMP) write to the descriptors themselves. Textual measures the terminal by
    `sys.__stdout__` and draws on `sys.__stderr__`, so these become duplicates of what 1 and 2 were.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        if log.stat().st_size > LARGEST_LOG:
            log.replace(log.with_suffix(".old.log"))
    sys.stdout.flush()
    sys.stderr.flush()
    # Where standard error goes to a file, the app is drawn on standard output.
    kept = os.dup(1), os.dup(2 if os.isatty(2) else 1)
    errors = os.dup(2)
    before = sys.__stdout__, sys.__stderr__
    streams = [os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", closefd=False) for descriptor in kept]
    with log.open("a", encoding="utf-8") as file:
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.getLogger("metatui").addHandler(handler)
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            sys.__stdout__, sys.__stderr__ = streams  # type: ignore[misc]
            yield
        finally:
            sys.__stdout__, sys.__stderr__ = before  # type: ignore[misc]
            for stream in streams:
                with suppress(OSError):  # the terminal may be gone
                    stream.close()  # which flushes, and leaves the descriptor
            os.dup2(kept[0], 1)
            os.dup2(errors, 2)
            for descriptor in (*kept, errors):
                os.close(descriptor)
            logging.getLogger("metatui").removeHandler(handler)
