"""Tests of the log entries about threads that failed."""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from metatui.tui.terminal.redirect import redirect_output


def terminal_is_gone() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def has_a_bug() -> None:
    raise ZeroDivisionError("a bug")


@pytest.mark.parametrize(
    ("body", "text"),
    [(terminal_is_gone, r"the terminal was closed\n\Z"), (has_a_bug, r"the thread body failed\nTraceback")],
)
def test_failed_threads_are_logged_with_time_and_process(body: Callable[[], None], text: str, tmp_path: Path) -> None:
    before = threading.excepthook
    with (tmp_path / "log").open("ab", buffering=0) as log, redirect_output(log):
        thread = threading.Thread(target=body, name="body")
        thread.start()
        thread.join()
    written = (tmp_path / "log").read_text()
    assert re.match(rf"\d{{4}}-\d\d-\d\d \S+ process {os.getpid()} \w+ metatui\S*: {text}", written)
    assert threading.excepthook is before
