"""A report as one HTML file: pictures drawn inside it, nothing loaded, nothing that runs."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import metatui
from metatui.runs.analysis.comparison.tables import TextTable
from metatui.runs.analysis.comparison.values import Comparison
from metatui.runs.analysis.exports.svg import HEIGHT, WIDTH, Panel
from metatui.runs.analysis.exports.svg_plot import line, style
from metatui.runs.analysis.report.content import Block, Pictures, Report, Section, Sentences, report
from metatui.runs.analysis.report.style import STYLE
from metatui.utils.text import sanitize

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""For the browser to hold to: nothing is loaded and no script runs, whatever stands in the page."""


def as_html(comparison: Comparison) -> str:
    """The whole page. Whatever comes from a run's files is text in it and never markup."""
    told = report(comparison)
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f'<meta name="generator" content="metatui {escape(metatui.__version__)}">',
            '<link rel="icon" href="data:,">',
            f"<title>{_text(told.title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            *_header(told),
            "<main>",
            *(text for section in told.sections for text in _section(section, told)),
            "</main>",
            f"<footer>metatui {escape(metatui.__version__)}</footer>",
            "</body>",
            "</html>\n",
        )
    )


def _header(told: Report) -> Iterable[str]:
    yield f"<header><h1>{_text(told.title)}</h1>"
    yield f"<p>{_text(told.summary)}.</p>"
    links = (f'<a href="#{_anchor(section)}">{_text(section.title)}</a>' for section in told.sections)
    yield f"<nav>{' '.join(links)}</nav>"
    if told.warnings:
        points = "".join(f"<li>{_text(warning)}.</li>" for warning in told.warnings)
        yield f"<aside><strong>Before you believe it</strong><ul>{points}</ul></aside>"
    yield "</header>"


def _section(section: Section, told: Report) -> Iterable[str]:
    yield f'<section id="{_anchor(section)}"><h2>{_text(section.title)}</h2>'
    for block in section.blocks:
        yield _block(block, told)
    yield "</section>"


def _block(block: Block, told: Report) -> str:
    match block:
        case str():
            return f"<p>{_text(block)}</p>"
        case Sentences(said):
            return f"<ul>{''.join(f'<li>{_text(sentence)}</li>' for sentence in said)}</ul>"
        case Pictures(panels, legend):
            return f'{_legend(told) if legend else ""}<div class="pictures">{"".join(map(_picture, panels))}</div>'
        case _:
            return _table(block)


def _picture(panel: Panel) -> str:
    drawn = "\n".join(panel.elements)
    title = _text(panel.title)
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}" fill="currentColor">'
        f"{drawn}</svg></figure>"
    )


def _legend(told: Report) -> str:
    keys = []
    for number, label in enumerate(told.labels):
        colour, dash = style(number)
        sample = line([(0, 6), (26, 6)], colour, dash, width=3)
        keys.append(f'<span><svg viewBox="0 0 26 12" aria-hidden="true">{sample}</svg> {_text(label)}</span>')
    return f'<p class="legend">{" ".join(keys)}</p>'


def _table(table: TextTable) -> str:
    head = "".join(
        f'<th scope="col"{_side(table, column)}>{_text(name)}</th>' for column, name in enumerate(table.headings)
    )
    rows = "".join(
        f"<tr>{''.join(f'<td{_side(table, column)}>{_text(word)}</td>' for column, word in enumerate(row))}</tr>"
        for row in table.rows
    )
    return (
        f'<div class="wide"><table><caption>{_text(table.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _side(table: TextTable, column: int) -> str:
    return "" if column < table.names else ' class="number"'


def _anchor(section: Section) -> str:
    return section.title.lower()


def _text(text: str) -> str:
    return escape(sanitize(text, limit=2000))
