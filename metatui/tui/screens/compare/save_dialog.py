"""Dialogs that ask for a file name and write a comparison to that file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.events import Key, Resize
from textual.geometry import Region
from textual.widgets import Button, Input, Label

from metatui.runs.analysis.comparison import Comparing, Comparison, compare_stepwise
from metatui.runs.analysis.exports import EXPORTS, check
from metatui.runs.analysis.report import REPORTS, figure_files, write
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.screens.analysis_screen import AnalysisScreen
from metatui.tui.screens.dialogs.dialog import InputDialog
from metatui.tui.widgets.form.controls import Toggle
from metatui.tui.widgets.static_text import StaticText, StatusLine
from metatui.tui.widgets.text_input import Entry
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError, quote


class SaveDialog(InputDialog[Path]):
    """Asks for a file name and writes the file. The result is the path of the file.

    Subclasses implement `save`, which calls `write_file` at the end.
    """

    DEFAULT_CSS = "SaveDialog #save-whole { color: $text-muted; padding: 0 1; }"

    _writing = False
    _written: Path | None = None
    """Path of the written file, if the dialog stays open because the user pressed keys while the file was written."""

    def __init__(self, title: str, hint: str, path: str) -> None:
        super().__init__(title, "Write")
        self._hint, self._path = hint, path

    def compose_fields(self) -> ComposeResult:
        yield StaticText(self._hint, classes="dialog-hint")
        yield Label("File")
        path = Entry(self._path, id="save-path")
        path.select_on_focus = False  # or the first key would replace the whole path
        yield path
        yield StatusLine(id="save-whole")
        with Horizontal(classes="field-row"):
            yield Label("Replace an existing file  ")
            yield Toggle(animate=False, id="save-overwrite")
        yield StatusLine(id="save-state")

    def on_mount(self) -> None:
        self.call_after_refresh(self._scroll_to_file_name)

    def _scroll_to_file_name(self) -> None:
        """Scroll to the end of the path, where Textual places the cursor without scrolling to it."""
        path = self.query_one("#save-path", Entry)
        path.scroll_to_region(Region(path.content_width, 0, 1, 1), force=True, animate=False)

    @on(Input.Changed, "#save-path")
    @on(Resize)
    def _path_changed(self) -> None:
        self.call_after_refresh(self._show_whole_path)

    def _show_whole_path(self) -> None:
        """Show the whole path below the field if the field is too narrow for it.

        While an error is shown, the path is not, because most errors name it.
        """
        path, error = self.query_one("#save-path", Entry), self.query_one("#dialog-error", StatusLine)
        is_cut = path.content_width > path.content_size.width
        self.query_one("#save-whole", StatusLine).update(path.value if is_cut and not error.display else "")

    def accept(self) -> None:
        if self._writing:
            return
        if self._written:
            self.dismiss(self._written)
            return
        try:
            path = paths.absolute(self.text())
            self.check(path)
            existing = [file for file in (path, *figure_files(path).values()) if os.path.exists(file)]
            if existing and not self.query_one("#save-overwrite", Toggle).value:
                raise BadInput(
                    f"{quote(str(existing[0]), 200)} exists: turn on 'Replace an existing file', or enter another name"
                )
            self.save(path)
        except MetatuiError as error:
            self.show_error(f"{error}.")

    def check(self, path: Path) -> None:
        """Raise BadInput unless `path` can be written."""
        check(path)

    def save(self, path: Path) -> None:
        """Prepare the content, and write it to `path` with `write_file`."""
        raise NotImplementedError

    @work(group="save")
    async def write_file(self, write: Callable[[Path], object], path: Path) -> None:
        """Write the file in a thread, because drawing figures takes a few seconds, and then close the dialog."""
        self._writing = True
        self._typed = False
        self.show_state("Writing the file…")
        self.query_one("#save-path", Entry).disabled = True
        try:
            await asyncio.to_thread(write, path)
        except MetatuiError as error:
            self.show_error(f"Not written: {error}.")
        else:
            self._finish_writing(path)
        finally:
            self._writing = False

    def _finish_writing(self, path: Path) -> None:
        """Close the dialog, unless the user has pressed keys while the file was written.

        If the dialog closed while the user was typing, the screen below would treat further keys as commands.
        """
        if not self._typed:
            self.dismiss(path)
            return
        self._written = path
        self.show_state(f"Written to {path}. Keys pressed in the meantime were ignored.")
        self.accept_button.label = "Close (enter)"
        self.query_one("#cancel", Button).display = False

    def on_key(self, event: Key) -> None:
        """Ignore all keys except escape while a file is being written. Once it is written, enter closes the dialog."""
        if self._writing and event.key != "escape":
            self._typed = True
            event.stop().prevent_default()
        elif self._written and event.key == "enter":
            event.stop().prevent_default()
            self.accept()

    def show_error(self, error: str) -> None:
        self.query_one("#save-path", Entry).disabled = False
        self.query_one("#save-state", StatusLine).update("")
        super().show_error(error)
        self._show_whole_path()

    def show_state(self, state: str) -> None:
        self.query_one("#save-state", StatusLine).update(state)
        self.query_one("#dialog-error", StatusLine).update("")


class ExportScreen(SaveDialog):
    """Dialog that exports a finished comparison by calling `write` with the path of the file."""

    def __init__(self, path: Path, write: Callable[[Path], object]) -> None:
        super().__init__("Export", f"The file extension selects the format: {', '.join(EXPORTS)}.", str(path))
        self._export = write

    def save(self, path: Path) -> None:
        self.write_file(self._export, path)


class ReportScreen(SaveDialog, AnalysisScreen[Path | None]):
    """Dialog that evaluates `runs` and writes a report on them."""

    def __init__(self, runs: Sequence[RunFolder], folder: Path) -> None:
        """Create the dialog.

        Args:
            folder: Folder of the file that the dialog suggests.
        """
        first, others = runs[0].id, len(runs) - 1
        subject = f"these {len(runs)} runs and how they compare" if others else f"run {first}"
        path = folder / f"{first}-and-{others}-more.html" if others else folder / f"{first}.html"
        super().__init__(
            "Report",
            f"One page on {subject}: settings, curves, results on held-out tasks, environment. It needs no other file "
            "and no network. If the name ends in .md, the report is in Markdown, with its pictures in separate files.",
            paths.short(path),
        )
        self._runs = tuple(runs)
        self._file = path

    def check(self, path: Path) -> None:
        if path.suffix.lower() not in REPORTS:
            raise BadInput(f"{quote(str(path), 200)} must end in {' or '.join(REPORTS)}")
        super().check(path)

    def save(self, path: Path) -> None:
        if not self.is_busy:
            self._file = path
            self.start_analysis(partial(compare_stepwise, self._runs, reuse_test=True))
            self.show_state("Reading the runs…")

    def show_progress(self, progress: Comparing) -> None:
        self.show_state(
            f"Adapting {progress.run} ({progress.number} of {progress.runs}): "
            f"{progress.done:,} of {progress.tasks:,} tasks"
        )

    def show_result(self, result: Comparison) -> None:
        self.write_file(partial(write, result), self._file)

    def show_failure(self, reason: str) -> None:
        self.show_error(f"Not measured: {reason}.")
