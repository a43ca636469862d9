"""Information that the app shares with its parent process in case the app crashes.

This module does not import Textual.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING

# This module is imported before the fork. Modules needed only after a crash are imported then.
if TYPE_CHECKING:
    from metatui.runs.storage.run_folder import RunFolder

SIZE = 8 * 1024


class CrashInfo:
    """A page of memory shared by a process and its forks. Its content remains after the process that wrote it ends."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, SIZE)

    @property
    def drawing(self) -> bool:
        """True while the app draws on the terminal.

        If this is still true after the app has ended, the terminal modes must be restored.
        """
        return self._page[0] != 0

    @drawing.setter
    def drawing(self, drawing: bool) -> None:
        self._page[0] = drawing

    @property
    def run(self) -> RunFolder | None:
        """The run that the app is following, or None if it follows no run."""
        from metatui.runs.storage.run_folder import RunFolder

        path = self._page[1:].split(b"\0", 1)[0]
        return RunFolder(Path(os.fsdecode(path))) if path else None

    @run.setter
    def run(self, run: RunFolder | None) -> None:
        path = os.fsencode(run.path) if run else b""
        self._page[1:] = path[: SIZE - 2].ljust(SIZE - 1, b"\0")


def describe_background_run(run: RunFolder) -> str:
    """Return a message which says that a run continues, and names the commands that follow the run and stop it."""
    name = run.argument
    return (
        f"Run {run.id} continues in the background: metatui attach {name} to follow it, metatui stop {name} to stop it"
    )
