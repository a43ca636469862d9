"""The log file, opened for appending by whatever process needs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from metatui import paths
from metatui.errors import shown
from metatui.files import reason

LARGEST = 4 * 1024 * 1024
"""Bytes from which on the log is started anew and the old one is renamed."""


@contextmanager
def open_log() -> Iterator[tuple[BinaryIO, str]]:
    """Open the log for appending.

    Yields:
        The file, and an empty string. Where the log cannot be written (a read-only or full home directory), the null
        device and one sentence that says so: nothing depends on a log.
    """
    path, problem = paths.log_file(), ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            if path.stat().st_size > LARGEST:
                path.replace(path.with_suffix(".old.log"))
        log = path.open("ab", buffering=0)
    except OSError as error:
        problem = f"There is no log: {shown(str(path), 200)} cannot be written ({reason(error)})"
        log = open(os.devnull, "ab", buffering=0)  # noqa: SIM115 - closed below
    with log:
        yield log, problem
