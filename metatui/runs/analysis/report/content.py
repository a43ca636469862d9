"""Content of a report as sections, independent of the output format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from metatui.config import presets
from metatui.config.fields import FIELDS, change, differences, text_of
from metatui.config.presets import as_changed, without_changed
from metatui.config.schedule import PlannedChange
from metatui.config.settings import Settings
from metatui.runs.analysis import figures
from metatui.runs.analysis.comparison import tables
from metatui.runs.analysis.comparison.formatting import (
    inner_steps,
    intervals,
    main_results,
    note_on_seeds,
    protocol_words,
)
from metatui.runs.analysis.comparison.labels import algorithm_title, join_names
from metatui.runs.analysis.comparison.tables import NONE, TextTable
from metatui.runs.analysis.comparison.values import Comparison
from metatui.runs.analysis.figures import Panel
from metatui.runs.formatting import detail, entry_message, with_unit
from metatui.runs.storage.journal import Entry
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import MetatuiError
from metatui.utils.text import format_count

T = TypeVar("T")

MAX_EVENTS = 200
"""Maximum number of journal entries of one run in a report."""

STARTED = {
    "preset": "settings from",
    "metatui": "metatui",
    "python": "Python",
    "torch": "torch",
    "host": "host",
    "device": "device",
    "device_name": "device name",
    "engine": "engine",
}
"""Headings of the table of machines and versions, keyed by the name under which the journal records the value."""


@dataclass(frozen=True)
class Section:
    """A section with figures, tables, sentences and a note, in this order."""

    title: str
    figures: tuple[Panel, ...] = ()
    tables: tuple[TextTable, ...] = ()
    sentences: tuple[str, ...] = ()
    """Sentences, each without its full stop."""
    note: str | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.figures or self.tables or self.sentences or self.note)


@dataclass(frozen=True)
class Report:
    """Content of a report."""

    title: str
    summary: str
    """Summary of the report, without a full stop at the end."""
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]


def report(comparison: Comparison) -> Report:
    """Return the full report on a comparison of one or more runs."""
    algorithms = join_names(list(dict.fromkeys(algorithm_title(run.settings) for run in comparison.runs)))
    other_pairs = tuple(verdict for verdict in comparison.verdicts if verdict not in comparison.conclusions)
    training = [figures.training(comparison, against=against) for against in figures.AGAINST]
    sections = (
        Section("Conclusions", sentences=main_results(comparison), note=note_on_seeds(comparison)),
        Section(
            "Result", (figures.result(comparison),), _present(tables.groups(comparison), tables.results(comparison))
        ),
        Section("Adaptation", (figures.adaptation(comparison),), (tables.adaptation(comparison),)),
        Section(
            "Training",
            _present(*training, figures.validation(comparison)),
            _present(tables.validations(comparison), tables.to_target(comparison)),
        ),
        Section("Costs", _present(figures.step_time(comparison)), (tables.costs(comparison),)),
        Section(
            "Pairs", (), _present(tables.seed_tests(comparison), tables.paired_tests_table(comparison)), other_pairs
        ),
        Section("Protocol", (), (_protocol(comparison),)),
        Section("Settings", (), tuple(_settings(comparison))),
        Section("Environment", (), (_environment(comparison),)),
        Section("Journal", (), _present(_journal(comparison))),
    )
    return Report(f"{algorithms} on {comparison.protocol.source}", *_head(comparison), _not_empty(sections))


def summary(comparison: Comparison) -> Report:
    """Return the protocol, the conclusions, the figures and the tables of a comparison."""
    other_pairs = tuple(verdict for verdict in comparison.verdicts if verdict not in comparison.conclusions)
    sections = (
        Section("Conclusions", sentences=main_results(comparison), note=note_on_seeds(comparison)),
        Section("Figures", figures=tuple(figures.panels(comparison))),
        *(Section(table.title, tables=(table,)) for table in tables.tables(comparison)),
        Section("All pairs", sentences=other_pairs),
    )
    return Report("Comparison", *_head(comparison), _not_empty(sections))


def _head(comparison: Comparison) -> tuple[str, tuple[str, ...]]:
    return f"{protocol_words(comparison)}; {intervals(comparison)}", comparison.warnings


def _not_empty(sections: Iterable[Section]) -> tuple[Section, ...]:
    return tuple(section for section in sections if not section.is_empty)


def _present(*items: T | None) -> tuple[T, ...]:
    return tuple(item for item in items if item is not None)


def _protocol(comparison: Comparison) -> TextTable:
    from metatui.learning.evaluation.statistics import DIVERGED

    protocol = comparison.protocol
    ways = sorted({run.evaluation.ways for run in comparison.runs if run.evaluation.ways})
    growth = "" if comparison.metric == "accuracy" else f" or is over {DIVERGED:,.0f} times the loss before adaptation"
    items = {
        "source of tasks": protocol.source,
        "split": protocol.split,
        "tasks": f"{protocol.tasks:,}, the same for all runs with the same ways and classes",
        "seed of the tasks": str(protocol.seed),
        "ways": ", ".join(map(str, ways)) or None,
        "shots": str(protocol.shots),
        "queries": str(protocol.queries),
        "inner steps": inner_steps(comparison) if protocol.own_steps else str(protocol.steps),
        "batch norm": protocol.batch_norm,
        "rotations as classes": {True: "yes", False: "no", None: None}[protocol.rotations],
        "parameters": "those at the best validation; adaptation to each task starts from these parameters and uses the "
        "inner learning rate at that validation",
        "diverged tasks": f"tasks whose loss after the last inner step is not finite{growth}; means, intervals and "
        "tests exclude these tasks",
        "intervals": "95 % (Student's t) across tasks. For means over several seeds and their differences, the "
        "intervals are across seeds.",
    }
    rows = tuple((name, value) for name, value in items.items() if value is not None)
    return TextTable("Evaluation protocol of all runs", ("property", "value"), rows, names=2)


def _settings(comparison: Comparison) -> Iterator[TextTable]:
    """Yield tables of settings: those that differ between runs, the others, and those that differ from the presets."""
    table = tables.differing_settings(comparison)
    differing = {row[0] for row in table.rows} if table else set()
    if table:
        yield table
    rows = []
    for path, field in FIELDS.items():
        used = [run.settings for run in comparison.runs if field.is_relevant(run.settings)]
        if used and path not in differing:
            value = tables.used_value(used[0], path)
            amount = value if value == NONE else with_unit(value, field.unit)
            rows.append((path, amount, field.help))
    title = "Settings that do not differ" if len(comparison.runs) > 1 else "Settings of the run"
    yield TextTable(title, ("setting", "value", "meaning"), tuple(rows), names=3)
    if changed := _changed_from_preset(comparison):
        yield changed


def _changed_from_preset(comparison: Comparison) -> TextTable | None:
    """Return a table of the settings (after live changes) that differ from the presets; None if it would be empty."""
    rows = []
    for run in comparison.runs:
        if (preset := _preset(run.run)) is not None:
            for path in differences(run.settings, preset):
                values = (text_of(settings.value(path)) or NONE for settings in (run.settings, preset))
                rows.append((run.label, path, *values))
    headings = ("run", "setting", "value", "in the preset")
    return TextTable("Settings that differ from the preset", headings, tuple(rows), names=4) if rows else None


def _preset(run: RunFolder) -> Settings | None:
    """Return the settings of a run's preset with its scheduled changes applied, or None if the preset is missing or
    unreadable."""
    name = next((entry.details.get("preset") for entry in run.journal() if entry.event == "started"), None)
    if isinstance(name, str):
        with suppress(MetatuiError):
            preset = presets.load(without_changed(name))
            scheduled = {each.path: each.value for each in preset.changes if isinstance(each, PlannedChange)}
            return change(preset.settings, scheduled)
    return None


def _environment(comparison: Comparison) -> TextTable:
    """Return a table of the machines and versions that were used, with a row for each start or resumption of a run."""
    rows = []
    for run in comparison.runs:
        preset = _preset(run.run)
        is_changed = preset is not None and bool(differences(run.settings, preset))
        for entry in run.run.journal():
            if entry.event == "started":
                origin = entry.details.get("preset") or "none"
                recorded = {**entry.details, "preset": as_changed(origin) if is_changed else origin}
                details = (recorded.get(name) for name in STARTED)
                texts = (NONE if value is None else detail({"": value}, "") for value in details)
                resumed = entry.iteration
                rows.append((run.label, run.id, _time(entry), f"{resumed:,}" if resumed else NONE, *texts))
    headings = ("run", "name", "started", "resumed after meta-step", *STARTED.values())
    if all(row[3] == NONE for row in rows):  # no run was resumed
        rows, headings = [(*row[:3], *row[4:]) for row in rows], (*headings[:3], *headings[4:])
    return TextTable("Where the runs were trained", headings, tuple(rows), names=len(headings))


def _journal(comparison: Comparison) -> TextTable | None:
    """Return a table of events such as changed settings, pauses, warnings and the end of a run; None if it is empty."""
    rows: list[tuple[str, ...]] = []
    for run in comparison.runs:
        entries = [entry for entry in run.run.journal() if entry.event != "started" or entry.iteration]
        messages = [(entry, message) for entry in entries if (message := entry_message(entry))]
        rows += [(run.label, _time(entry), f"{entry.iteration:,}", message) for entry, message in messages[:MAX_EVENTS]]
        if (rest := len(messages) - MAX_EVENTS) > 0:
            rows.append((run.label, NONE, NONE, f"and {format_count(rest, 'more event')}"))
    return TextTable("Events", ("run", "time", "meta-step", "event"), tuple(rows), names=4) if rows else None


def _time(entry: Entry) -> str:
    return f"{entry.time:%Y-%m-%d %H:%M:%S} UTC"
