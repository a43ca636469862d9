"""Pictures in files of their own beside a Markdown file, which cannot hold any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from metatui.runs.analysis.comparison.values import RunResult
from metatui.runs.analysis.exports.svg import Panel
from metatui.utils.files import write_atomically


class ImageWriter:
    """Collects what a Markdown file links to: `report.md` has `report-training.svg` and so on beside it."""

    def __init__(self, path: Path, runs: Sequence[RunResult]) -> None:
        self._path, self._runs = path, runs
        self.files: dict[Path, str] = {}
        """What is to be written, by the file that it goes to."""

    def links(self, panels: Iterable[Panel]) -> str:
        """The panels as Markdown, side by side where there is room."""
        return "\n".join(map(self._link, panels))

    def write(self, text: str) -> tuple[Path, ...]:
        """Writes the Markdown file, `text`, after its pictures; all files, the Markdown first. Raises MetatuiError."""
        for path, picture in self.files.items():
            write_atomically(path, picture.encode())
        write_atomically(self._path, text.encode())
        return self._path, *self.files

    def _link(self, panel: Panel) -> str:
        path = self._path.with_name(f"{self._path.stem}-{panel.name}.svg")
        self.files[path] = panel.svg(self._runs)
        # Titles are of our own making: nothing in them is markup.
        return f"![{panel.title}]({quote(path.name)})"
