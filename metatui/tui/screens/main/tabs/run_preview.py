"""Preview of a run: result, curve, settings that differ from its preset, and journal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from rich.segment import Segment

from metatui.config import presets
from metatui.config.fields import FIELDS
from metatui.config.registry import ALGORITHMS, DATA, REGISTRIES, components_with_options
from metatui.config.settings import Settings
from metatui.config.toml import read_tables
from metatui.runs.formatting import duration, headline, result_words
from metatui.runs.storage.summary import RunSummary
from metatui.tui.keyboard.actions import with_keys
from metatui.tui.model.replay import outline
from metatui.tui.model.run_model import RunModel
from metatui.tui.screens.main.curves import CurveOptions, chart_of
from metatui.tui.screens.main.journal import wrapped_lines
from metatui.tui.screens.main.tabs.previews import changed_settings, section
from metatui.tui.screens.main.tabs.run_list import is_live, start_time
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.plot import paint
from metatui.tui.widgets.charts.row_widget import Row, columns
from metatui.tui.widgets.scroll_view import Page, paragraph
from metatui.utils import paths
from metatui.utils.errors import MetatuiError, quote
from metatui.utils.text import as_sentence, format_count, sanitize

MIN_CHART_HEIGHT, MAX_CHART_HEIGHT = 8, 24
WIDE = 100
"""Minimum width of the preview at which the chart is shown next to the text."""
MAX_TEXT_WIDTH = 76
GAP = 3
JOURNAL_LINES = 50
"""Maximum number of journal lines. Only the newest lines are shown."""


@dataclass(frozen=True)
class RunDetails:
    """The parts of a preview that are read from files. They are empty until they have been read."""

    model: RunModel | None = None
    base: Settings | None = None
    """Settings of the run's preset or, if it has none, the default settings."""
    preset: str | None = None
    """Name of the run's preset, or None if `base` contains the default settings."""
    activity: str = ""
    """Result of `activity_of`, such as `testing 120 of 600 tasks`, or an empty string."""
    saved: str = ""
    """Description of saved settings that cannot be used, such as `maml on sinusoid, model mine, seed 1`."""
    missing: str = ""
    """Sentence that names a component of a missing plugin and says how to load the plugin. Empty if none is missing."""


def read_details(run: RunSummary) -> RunDetails:
    """Read the details of a run. Call this function in a thread.

    Details that cannot be read stay empty. The run's summary (`run.problem`) contains the reason.
    """
    try:
        model = outline(run.run)
    except (MetatuiError, OSError):  # OSError: deleted in the meantime
        return _unchecked(run)
    from metatui.runs.execution.control.client import activity_of

    name, activity = presets.without_changed(run.preset or ""), activity_of(run)
    with suppress(MetatuiError):  # the preset was deleted or renamed
        if name:
            return RunDetails(model, presets.load(name).settings, name, activity)
    return RunDetails(model, Settings(), activity=activity)


def _unchecked(run: RunSummary) -> RunDetails:
    """Describe the main settings of a run without validating them, and name a component of a missing plugin, if any.

    If missing plugins are the only problem, the details include the run's curves and journal.
    """
    try:
        tables = read_tables(run.run.settings_path)
    except (MetatuiError, OSError):
        return RunDetails()

    def value(path: str) -> object:
        group, name = path.split(".")
        table = tables.get(group)
        own = table.get(name) if isinstance(table, dict) else None
        return FIELDS[path].default if own is None else own

    shown = ("algorithm.name", "task.source", "model.name", "training.seed")
    algorithm, source, model, seed = (sanitize(str(value(path)), limit=80) for path in shown)
    names = ((registry.setting, value(registry.setting), registry.plugins()) for registry in REGISTRIES)
    missing = {
        path: name
        for path, name, plugins in names
        if isinstance(name, str) and name not in (*FIELDS[path].choices, *plugins)
    }
    sentences = (
        f"{path} is {quote(name)}, which needs its plugin: start with --plugin FILE.py."
        for path, name in missing.items()
    )
    return RunDetails(
        _outline_without(missing, tables, run) if missing else None,
        saved=f"{algorithm} on {source}, model {model}, seed {seed}",
        missing=next(sentences, ""),
    )


def _outline_without(missing: Iterable[str], tables: Mapping[str, Any], run: RunSummary) -> RunModel | None:
    """Return a model of `run` in which built-in components stand in for those of missing plugins.

    The model is None if other settings, or the recorded results, are also invalid.

    Args:
        missing: paths of the settings that name a component of a missing plugin.
        tables: the tables of the run's settings file.
    """
    has_accuracy = run.progress is not None and run.progress.accuracy is not None
    stand_ins = {
        "task.source": "glyphs" if has_accuracy else "sinusoid",
        "model.name": "auto",
        "algorithm.name": "protonet",  # has no inner steps, so the names of the curves contain no number of steps
    }
    known = {*Settings.model_fields, *components_with_options()}
    groups = {name: table for name, table in tables.items() if name in known}
    for path in missing:
        group, name = path.split(".")
        groups[group] = {**groups[group], name: stand_ins[path]}
    try:
        return outline(run.run, Settings.model_validate(groups))
    except (ValueError, RecursionError, MetatuiError, OSError):  # ValueError: pydantic's ValidationError
        return None


def page(run: RunSummary, details: RunDetails, height: Callable[[], int]) -> Page:
    """Return the preview of `run`. A wide preview has the chart to the right of the texts.

    Args:
        height: function that returns the height of the view.
    """

    has_chart = run.iteration > 0 or is_live(run)

    def rows(width: int, theme: ChartTheme) -> list[Row]:
        if has_chart and width >= WIDE:
            left = min(MAX_TEXT_WIDTH, (width - GAP) * 2 // 5)
            right = width - GAP - left
            above, below = _texts(run, details, left, theme)
            chart = _chart(details, right, max(MIN_CHART_HEIGHT, height()), theme)
            return columns([*above, *below], chart, (left, right), GAP)
        above, below = _texts(run, details, width, theme)
        if details.model and has_chart:
            low = max(MIN_CHART_HEIGHT, min(MAX_CHART_HEIGHT, height() * 2 // 5))
            above += [[], *_chart(details, width, low, theme)]
        return above + below

    return rows


def _chart(details: RunDetails, width: int, height: int, theme: ChartTheme) -> list[Row]:
    """Return the rows of the run's chart, or an empty list until the details of the run have been read."""
    model = details.model
    if model is None:
        return []
    view = CurveOptions(metric="accuracy" if model.settings.is_classification else "loss")
    return paint(replace(chart_of(model, view, width), empty="No meta-steps yet"), width, height, theme)


def _texts(run: RunSummary, details: RunDetails, width: int, theme: ChartTheme) -> tuple[list[Row], list[Row]]:
    """Return the texts above and below the chart."""
    above = [*paragraph(run.id, width, theme, theme.title), *_summary(run, details, width, theme)]
    below = _settings(run, details, width, theme)
    if details.model:
        below += section("Journal", _journal(details.model, width, theme), width, theme)
    below += section("Folder", paragraph(place(run), width, theme, theme.text), width, theme)
    return above, below


def _summary(run: RunSummary, details: RunDetails, width: int, theme: ChartTheme) -> list[Row]:
    texts = [line for line in (_about(run, details), _amount(run, details)) if line]
    texts += [text for text in results(run) if text]
    rows = [row for text in texts for row in paragraph(text, width, theme, theme.text, hang=2)]
    reason = f"{run.status.capitalize()}: {as_sentence(run.reason)}." if run.reason else ""
    warnings = [reason, f"{run.warning}." if run.warning else "", details.missing or run.problem or ""]
    return rows + [row for text in warnings if text for row in paragraph(text, width, theme, theme.warning, hang=2)]


def _about(run: RunSummary, details: RunDetails) -> str:
    if not run.settings:
        return details.saved
    task, algorithm = run.settings.task, ALGORITHMS[run.settings.algorithm.name].title
    kind = f"{task.ways}-way {task.shots}-shot" if run.settings.is_classification else f"{task.shots}-shot"
    origin = f"preset {run.preset}" if run.preset else "no preset"
    origin += ", changed live" if run.changed_live else ""
    return f"{algorithm} on {DATA[task.source].title}, {kind}, seed {run.settings.training.seed}, {origin}"


def _amount(run: RunSummary, details: RunDetails) -> str:
    seconds = f" in {duration(details.model.seconds)}" if details.model and details.model.seconds else ""
    live = ""
    if is_live(run):
        live = with_keys(" Press {open_run} to follow the run, or {stop_run} to stop it.")
        if details.model and details.model.other_user:
            owner = details.model.other_user
            live = with_keys(" Press {open_run} to watch the run; ") + f"only user {owner} can stop it."
    steps = format_count(run.iteration, "meta-step")
    now = [text for text in (details.activity or run.activity, run.process) if text]
    return f"{', '.join([run.status.capitalize(), f'{steps}{seconds}', *now])}, started {start_time(run)}.{live}"


def results(run: RunSummary) -> list[str]:
    """Return the results of the test and of the best and the last validation, one per line, each with its protocol."""
    lines = []
    if run.test:
        lines.append(f"Test: {result_words(run.test, run.best)}")
    if run.best:
        lines.append(f"Best validation: {headline(run.best)}, at meta-step {run.best.iteration:,}")
    if run.validation and (run.best is None or run.validation.iteration != run.best.iteration):
        lines.append(f"Last validation: {headline(run.validation)}, at meta-step {run.validation.iteration:,}")
    return lines


def _settings(run: RunSummary, details: RunDetails, width: int, theme: ChartTheme) -> list[Row]:
    if run.settings is None or details.base is None or details.model is None:
        return []
    rows = changed_settings(run.settings, details.base, "preset" if details.preset else "default", width, theme)
    live = changed_settings(details.model.settings, run.settings, "at the start", width, theme)
    base = f"preset {details.preset}" if details.preset else "the defaults"
    at_start = " at the start" if live or run.changed_live else ""
    same = f"The settings{at_start} are {'those of ' if details.preset else ''}{base}."
    shown = section(f"Settings that differ from {base}", rows, width, theme)
    shown = shown if rows else [[], *paragraph(same, width, theme, theme.title)]
    if run.changed_live and not details.model.undoable:
        live += paragraph("Live changes were undone: see the journal.", width, theme, theme.text)
    return [*shown, *section("Settings changed during the run", live, width, theme)]


def _journal(model: RunModel, width: int, theme: ChartTheme) -> list[Row]:
    lines = list(model.journal)[-JOURNAL_LINES:]
    tones = {"plain": theme.text, "good": theme.text, "warning": theme.warning, "error": theme.warning}
    return [
        [Segment(row.step, theme.muted), Segment(row.text, tones[row.tone])]
        for row in wrapped_lines(lines, width, theme)
    ]


def place(run: RunSummary) -> str:
    return paths.short(run.run.path)
