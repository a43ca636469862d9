"""What the app leaves behind for the process that waits for it, which may find it dead. No textual here."""

from __future__ import annotations

import mmap
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

# Imported before the app forks off: what only a death needs is imported then.
if TYPE_CHECKING:
    from metatui.runs.storage.run_folder import RunFolder

LONGEST = 8 * 1024


class LastWords:
    """A page of memory that a process and those it forks have in common, so what one wrote outlives it."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, LONGEST)

    @property
    def drawing(self) -> bool:
        """Whether the terminal is the app's: in another mode and another screen than it was."""
        return self._page[0] != 0

    @drawing.setter
    def drawing(self, drawing: bool) -> None:
        self._page[0] = drawing

    @property
    def run(self) -> RunFolder | None:
        """The run that the app follows."""
        from metatui.runs.storage.run_folder import RunFolder

        path = self._page[1:].split(b"\0", 1)[0]
        return RunFolder(Path(os.fsdecode(path))) if path else None

    @run.setter
    def run(self, run: RunFolder | None) -> None:
        path = os.fsencode(run.path) if run else b""
        self._page[1:] = path[: LONGEST - 2].ljust(LONGEST - 1, b"\0")


def goes_on(run: RunFolder) -> str:
    """Where a run is that the app no longer follows, and how to go on with it."""
    from metatui.utils import paths

    at_home = run.path.parent == paths.runs_dir()
    name = run.id if at_home else shlex.quote(str(run.path))
    return f"Run {run.id} goes on: metatui attach {name}, metatui stop {name}"
