"""Preview of a preset: title, protocol, results, differences from the form, and explanation of its algorithm."""

from __future__ import annotations

from metatui.config.presets import Preset
from metatui.config.registry import DATA
from metatui.config.schedule import in_words
from metatui.config.settings import Settings
from metatui.learning.explanations import explanation
from metatui.tui.keyboard.actions import with_keys
from metatui.tui.screens.explain import page as explanation_page
from metatui.tui.screens.main.tabs.preset_list import missing_data
from metatui.tui.screens.main.tabs.previews import changed_settings, labelled_paragraphs, section
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row
from metatui.tui.widgets.scroll_view import Page, paragraph


def page(preset: Preset, form: Settings | None) -> Page:
    """Return the preview of `preset`.

    Args:
        form: settings in the form, or None if they are invalid.
    """

    def rows(width: int, theme: ChartTheme) -> list[Row]:
        drawn = paragraph(preset.title or preset.name, width, theme, theme.title)
        if command := missing_data(preset.settings):
            title = DATA[preset.settings.task.source].title
            press = with_keys("Press {fetch_data} to download it")
            text = f"Needs {title}, which is not on this machine. {press}, or run {command}."
            drawn += paragraph(text, width, theme, theme.warning, hang=2)
        parts = (
            ("Source:", preset.source),
            ("Data:", DATA[preset.settings.task.source].description()),
            ("Protocol:", preset.protocol),
            ("Published:", " · ".join(filter(None, (preset.published, preset.published_protocol)))),
            ("Measured:", preset.measured or ""),
            ("Notes:", preset.notes),
        )
        drawn += [[], *labelled_paragraphs(parts, width, theme)]
        drawn += _compared_with_form(preset, form, width, theme)
        changes = [(f"{change.iteration:,}:", in_words(change)) for change in preset.changes]
        drawn += section("Scheduled changes, by meta-step", labelled_paragraphs(changes, width, theme), width, theme)
        return [*drawn, [], *explanation_page(explanation(preset.settings), width, theme)]

    return rows


def _compared_with_form(preset: Preset, form: Settings | None, width: int, theme: ChartTheme) -> list[Row]:
    if form is None:
        return []
    if form == preset.settings:
        return [[], *paragraph("The form already has these settings.", width, theme, theme.title)]
    rows = changed_settings(preset.settings, form, "form", width, theme)
    return section("Settings that differ from the form", rows, width, theme)
