"""Comparisons as files, each by the ending of its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from metatui.runs.analysis.comparison.values import Comparison
from metatui.runs.analysis.exports.as_csv import as_csv
from metatui.runs.analysis.exports.as_json import as_json, as_text
from metatui.runs.analysis.exports.as_markdown import as_markdown
from metatui.runs.analysis.exports.sidecar_images import ImageWriter
from metatui.runs.analysis.exports.svg import figure
from metatui.runs.analysis.report import as_html
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import reason, write_atomically

__all__ = ["EXPORTS", "as_json", "check", "export", "written"]

EXPORTS: dict[str, Callable[[Comparison], str]] = {
    ".csv": as_csv,
    ".html": as_html,
    ".json": as_text,
    ".md": as_markdown,
    ".svg": figure,
}
"""What writes a file with this ending: a comparison to the text of the file."""


def check(path: Path) -> None:
    """Raises BadInput where nothing could be written to `path`, so that it is known before anything is computed."""
    if path.suffix.lower() not in EXPORTS:
        raise BadInput(f"{quote(str(path), 200)} must end in one of {', '.join(EXPORTS)}: that says what to write")
    try:
        if not path.parent.is_dir():
            there_is_none = f"there is no folder {quote(str(path.parent), 200)}"
            raise BadInput(f"{quote(str(path), 200)} cannot be written: {there_is_none}")
        if path.is_dir():
            raise BadInput(f"{quote(str(path), 200)} is a folder, but must be a file")
    except OSError as error:  # such as a name that is too long
        raise BadInput(f"{quote(str(path), 200)} cannot be written: {reason(error)}") from None


def export(comparison: Comparison, path: Path) -> tuple[Path, ...]:
    """Writes `comparison` to `path`, in the format that its ending says; the pictures of Markdown go beside it.

    Returns all files that were written, `path` first. Raises BadInput, MetatuiError.
    """
    check(path)
    ending = path.suffix.lower()
    if ending == ".md":
        beside = ImageWriter(path, comparison.runs)
        return beside.write(as_markdown(comparison, beside))
    write_atomically(path, EXPORTS[ending](comparison).encode())
    return (path,)


def written(files: Sequence[Path]) -> str:
    """`Written to report.md, with 4 pictures beside it`."""
    pictures = len(files) - 1
    more = f", with {pictures} {'picture' if pictures == 1 else 'pictures'} beside it" if pictures else ""
    return f"Written to {files[0]}{more}"
