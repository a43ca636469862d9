"""Dialog about a run that ended with an unexpected error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll

from metatui.runs.storage.jsonl import read_tail
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.keyboard.actions import with_keys
from metatui.tui.screens.dialogs.dialog import Dialog
from metatui.tui.widgets.static_text import StaticText
from metatui.utils import paths
from metatui.utils.text import sanitize

LINES = 40
"""Number of log lines that are shown."""

MAX_BYTES = 64 * 1024
"""Maximum number of bytes that are read from the end of the log."""


class FailureScreen(Dialog[None]):
    """Shows `sentence`, the path and the last lines of the log of `run`, and how to resume the run."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,enter,q", "dismiss", "Close")]
    DEFAULT_CSS = "FailureScreen VerticalScroll { height: auto; max-height: 100%; }"

    def __init__(self, run: RunFolder, sentence: str, log: Sequence[str]) -> None:
        super().__init__()
        self._run, self._sentence, self._log = run, sentence, log

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog dialog-wide") as dialog:
            dialog.border_title = "An error ended the run"
            dialog.border_subtitle = "escape closes"
            with VerticalScroll():
                yield StaticText(f"{sanitize(self._sentence, limit=2000)}\n\nRun: {self._run.id}")
                yield StaticText(f"Log: {paths.short(self._run.crash_path)}")
                yield StaticText(with_keys("{pause} in the work tab resumes the run from its last checkpoint.\n"))
                yield StaticText("\n".join(self._log), id="log")


def last_lines(run: RunFolder) -> list[str]:
    """Return the last lines of the run's crash.log, sanitized, or an empty list if there is no such file."""
    text = read_tail(run.crash_path, MAX_BYTES).decode(errors="replace")
    return [sanitize(line, limit=400) for line in text.splitlines()[-LINES:]]
