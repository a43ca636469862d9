"""Parts of the previews of runs and presets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.segment import Segment

from metatui.config.fields import FIELDS, differences, text_of
from metatui.config.settings import Settings
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row
from metatui.tui.widgets.scroll_view import paragraph


def section(title: str, rows: Sequence[Row], width: int, theme: ChartTheme) -> list[Row]:
    """Return a blank line, a title and `rows`, or nothing if there are no rows."""
    return [[], *paragraph(title, width, theme, theme.title), *rows] if rows else []


def labelled_paragraphs(parts: Iterable[tuple[str, str]], width: int, theme: ChartTheme) -> list[Row]:
    """Return a paragraph for each pair of a label and a text, except for pairs with an empty text."""
    rows: list[Row] = []
    for label, text in parts:
        if text:
            first, *rest = paragraph(f"{label} {text}", width, theme, theme.text, hang=2)
            drawn = first[0].text
            head = theme.printable(label)
            rows += [[Segment(head, theme.muted), Segment(drawn[len(head) :], theme.text)], *rest]
    return rows


def changed_settings(settings: Settings, other: Settings, other_name: str, width: int, theme: ChartTheme) -> list[Row]:
    """Return a paragraph for each setting that differs in `other`, such as `Inner learning rate: 0.05 (preset 0.01)`.

    Args:
        other_name: word that stands before the values of `other`, such as `preset`.
    """
    parts = [
        (f"{FIELDS[path].label}:", f"{format_setting(settings, path)} ({other_name} {format_setting(other, path)})")
        for path in differences(settings, other)
    ]
    return labelled_paragraphs(parts, width, theme)


def format_setting(settings: Settings, path: str) -> str:
    return text_of(settings.value(path)) or "empty"
