"""Reports: runs and their comparison as one page of HTML that stands alone, or Markdown with its pictures beside it."""

from __future__ import annotations

from pathlib import Path

from metatui.runs.analysis.comparison.values import Comparison
from metatui.runs.analysis.exports.sidecar_images import ImageWriter
from metatui.runs.analysis.report.html import as_html
from metatui.runs.analysis.report.markdown import as_markdown
from metatui.utils.files import write_atomically

__all__ = ["REPORTS", "as_html", "as_markdown", "write"]

REPORTS = (".html", ".md")
"""What the name of a report's file can end in."""


def write(comparison: Comparison, path: Path) -> tuple[Path, ...]:
    """Writes a report to `path`, in the format that its ending says; all files that were written, `path` first.

    Raises MetatuiError.
    """
    if path.suffix.lower() == ".html":
        write_atomically(path, as_html(comparison).encode())
        return (path,)
    beside = ImageWriter(path, comparison.runs)
    return beside.write(as_markdown(comparison, beside))
