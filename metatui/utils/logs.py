"""The log file, to which several processes append."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import BinaryIO

from metatui.utils import paths
from metatui.utils.errors import quote
from metatui.utils.files import reason
from metatui.utils.text import sanitize

MAX_BYTES = 4 * 1024 * 1024
"""Size in bytes above which the log is renamed and a new log is started."""


def write_log(text: str) -> None:
    """Append a line to the log, with the time in UTC and the process id. Do nothing if the log cannot be written."""
    line = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} process {os.getpid()}: {sanitize(text, limit=4000)}\n"
    with open_log() as (log, _), suppress(OSError):
        log.write(line.encode())


@contextmanager
def open_log() -> Iterator[tuple[BinaryIO, str]]:
    """Open the log for appending.

    Yields:
        The file and an empty string; or, if the log cannot be written, for example because the home directory is
        read-only or full, the null device and an error message. No error is raised, because no feature depends on
        the log.
    """
    path, problem = paths.log_file(), ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            if path.stat().st_size > MAX_BYTES:
                path.replace(path.with_suffix(".old.log"))
        log = path.open("ab", buffering=0)
    except OSError as error:
        problem = f"There is no log: {quote(str(path), 200)} cannot be written ({reason(error)})"
        log = open(os.devnull, "ab", buffering=0)  # noqa: SIM115 - closed below
    with log:
        yield log, problem
