"""A report of runs, written where the user says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Button, Input, Label

from metatui.runs.analysis.comparison import Comparing, Comparison, comparing
from metatui.runs.analysis.exports import check
from metatui.runs.analysis.report import REPORTS, write
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.helper import Helper, Reply, StepInfo, WorkerError, Yielded
from metatui.tui.screens.dialogs.dialog import Dialog
from metatui.tui.widgets.form.toggle import Toggle
from metatui.tui.widgets.static_text import StaticText
from metatui.tui.widgets.text_input import Entry
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError, quote


class ReportScreen(Dialog[Path | None]):
    """Asks for a file, measures `runs` in a child process, and writes it; dismissed with the path, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Cancel")]

    @dataclass
    class Replied(Message):
        """The helper said something."""

        reply: Reply

    def __init__(self, runs: Sequence[RunFolder], folder: Path) -> None:
        """
        Args:
            folder: where the report goes unless the user says otherwise.
        """
        super().__init__()
        self._runs = tuple(runs)
        name = self._runs[0].id if len(self._runs) == 1 else f"{self._runs[0].id}-and-{len(self._runs) - 1}-more"
        self._path = folder / f"{name}.html"
        self._helper: Helper | None = None

    def compose(self) -> ComposeResult:
        many = (
            f"these {len(self._runs)} runs and how they compare" if len(self._runs) > 1 else f"run {self._runs[0].id}"
        )
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Report"
            yield StaticText(
                f"One page on {many}: settings, curves, results on held-out tasks, environment. It needs no other file "
                "and no network. A name that ends in .md writes Markdown, with its pictures in files beside it.",
                classes="dialog-hint",
            )
            yield Label("File")
            yield Entry(paths.short(self._path), id="report-path")
            with Horizontal(classes="field-row"):
                yield Label("Replace a file of this name  ")
                yield Toggle(animate=False, id="report-overwrite")
            yield StaticText("", id="report-state")
            yield StaticText("", id="report-error", classes="field-error")
            with Horizontal(classes="dialog-buttons"):
                yield Button("Write (enter)", id="write", variant="primary", compact=True)
                yield Button("Cancel (esc)", id="cancel", compact=True)

    def on_mount(self) -> None:
        self._say()

    def on_unmount(self) -> None:
        if self._helper is not None:
            self._helper.stop()

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)

    @on(Button.Pressed, "#write")
    @on(Input.Submitted)
    def _begin(self) -> None:
        """Measure the runs, unless that goes on already or nothing could be written."""
        if self._helper is not None:
            return
        try:
            self._path = self._checked()
        except BadInput as error:
            self._say(error=f"{error}.")
            self.query_one("#report-path", Input).focus()
            return
        self._helper = Helper()
        listen = partial(self._listen, self._helper)
        self.run_worker(listen, thread=True, exit_on_error=False, group="report", description="report")
        self._helper.ask(partial(comparing, self._runs))
        self._say("Reading the runs…")

    def _checked(self) -> Path:
        path = paths.expanded(self.query_one("#report-path", Input).value.strip()).absolute()
        if path.suffix.lower() not in REPORTS:
            raise BadInput(f"{quote(str(path), 200)} must end in {' or '.join(REPORTS)}: that says what to write")
        check(path)
        if path.exists() and not self.query_one("#report-overwrite", Toggle).value:
            raise BadInput(f"{quote(str(path), 200)} is there already: turn on Replace, or give another name")
        return path

    def _listen(self, helper: Helper) -> None:
        """In a thread."""
        for reply in helper.replies():
            self.post_message(self.Replied(reply))

    @on(Replied)
    def _replied(self, event: Replied) -> None:
        match event.reply:
            case Yielded(value=Comparing() as now):
                self._say(f"Adapting {now.run} ({now.number} of {now.runs}): {now.done:,} of {now.tasks:,} tasks")
            case StepInfo(value=Comparison() as found):
                self._write(found)
            case WorkerError(sentence=sentence):
                self._failed(f"Not measured: {sentence}.")

    def _write(self, comparison: Comparison) -> None:
        try:
            write(comparison, self._path)
        except MetatuiError as error:
            self._failed(f"Not written: {error}.")
        else:
            self.dismiss(self._path)

    def _failed(self, error: str) -> None:
        if self._helper is not None:
            self._helper.stop()
            self._helper = None
        self._say(error=error)

    def _say(self, state: str = "", error: str = "") -> None:
        for name, text in (("#report-state", state), ("#report-error", error)):
            line = self.query_one(name, StaticText)
            line.say(text)
            line.display = bool(text)
