"""Rendering of reports with Jinja2 templates."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import metatui
from metatui.runs.analysis.comparison.values import Comparison
from metatui.runs.analysis.figures import PANELS, Panel, panel_figure
from metatui.runs.analysis.report.content import Report, report, summary
from metatui.utils.files import write_atomically
from metatui.utils.text import sanitize

if TYPE_CHECKING:
    from jinja2 import Environment

REPORTS = (".html", ".md")
"""File extensions that reports can have."""


def as_html(comparison: Comparison) -> str:
    """Render the report as one HTML page with embedded figures. Text from a run's files is escaped."""
    from markupsafe import Markup

    def image(panel: Panel) -> str:
        data = base64.b64encode(panel_figure(panel, comparison)).decode()
        return Markup("data:image/svg+xml;base64,") + data

    return _render("report.html.jinja", report(comparison), image)


def write(comparison: Comparison, path: Path) -> tuple[Path, ...]:
    """Write a report to `path`, in the format of its extension, and return all written files, `path` first.

    Raises:
        MetatuiError: if a file cannot be written.
    """
    if path.suffix.lower() == ".html":
        write_atomically(path, as_html(comparison).encode())
        return (path,)
    return _write_markdown(comparison, report(comparison), path)


def write_summary(comparison: Comparison, path: Path) -> tuple[Path, ...]:
    """Write the protocol, the conclusions, the tables and the figures of a comparison as Markdown.

    Returns the same values and raises the same errors as `write`.
    """
    return _write_markdown(comparison, summary(comparison), path)


def figure_files(path: Path) -> dict[str, Path]:
    """Return the figure files of the Markdown file `path`, which are next to it, keyed by the name of the panel.

    Not every comparison has all of these figures. If `path` is a file of another format, the result is empty.
    """
    if path.suffix.lower() != ".md":
        return {}
    return {name: path.with_name(f"{path.stem}-{name}.svg") for name in PANELS}


def _write_markdown(comparison: Comparison, content: Report, path: Path) -> tuple[Path, ...]:
    """Write a Markdown file such as `report.md` and, next to it, its figures `report-training.svg` and so on."""
    files = figure_files(path)
    text = _render("report.md.jinja", content, lambda panel: quote(os.fsencode(files[panel.name].name)))
    panels = [panel for section in content.sections for panel in section.figures]
    for panel in panels:
        write_atomically(files[panel.name], panel_figure(panel, comparison))
    write_atomically(path, text.encode())
    return path, *(files[panel.name] for panel in panels)


def _render(template: str, content: Report, image: Callable[[Panel], str]) -> str:
    text = _environment().get_template(template).render(report=content, image=image, version=metatui.__version__)
    return text.rstrip("\n") + "\n"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    def finalize(value: object) -> object:
        if isinstance(value, str) and not isinstance(value, Markup):
            return sanitize(value, limit=max(1, len(value)))
        return value

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=lambda name: name is not None and ".html" in name,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["md"] = escape_markdown
    return environment


def escape_markdown(text: str) -> str:
    """Escape Markdown syntax in `text`, because names of runs may contain any character."""
    escaped = re.sub(r"[\\`*_\[\]<>|#&~$]", r"\\\g<0>", text)
    return re.sub(r"^(\d*)([-+.)])(?=\s|$)", r"\1\\\2", escaped)  # the marker of a list item
