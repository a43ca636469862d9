"""Expansion of the `[[compare]]` tables of a suite file into runs, all checked before training starts.

All functions raise BadInput for invalid values, with the location of the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from metatui.config import presets
from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.presets import NAME, Preset, as_changed
from metatui.config.settings import Settings
from metatui.config.toml import names_file
from metatui.runs.analysis.comparison.compare_runs import check_target
from metatui.runs.analysis.comparison.labels import labels
from metatui.runs.analysis.comparison.shared_protocol import agree
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.suites.models import MAX_SUITE_RUNS, PlannedComparison, PlannedRun
from metatui.runs.suites.tables import CompareTable, LabelledRunTable, SourceLocation, read_table
from metatui.utils.errors import BadInput, SettingsError, quote

Changes = Mapping[str, Scalar]


def comparisons(
    tables: Sequence[dict[str, Any]], file: Path, origin: SourceLocation, changes: Changes
) -> tuple[PlannedComparison, ...]:
    """Return the comparisons of the `[[compare]]` tables of `file`; raise BadInput if one is invalid."""
    compare_tables: dict[str, CompareTable] = {}
    for i, raw in enumerate(tables):
        name = raw.get("name")
        part = name if isinstance(name, str) and NAME.fullmatch(name) else f"compare {i + 1}"
        table = read_table(CompareTable, raw, origin.within(part))
        if table.name in compare_tables:
            others = "different from the names of the other comparisons"
            raise origin.within(f"compare {i + 1}").error("name", table.name, others)
        compare_tables[table.name] = table
    runs = sum(table.run_count for table in compare_tables.values())
    if runs > MAX_SUITE_RUNS:
        described = f"the comparisons expand to {runs:,} runs (run entries x grid points x seeds)"
        raise BadInput(f"{origin}: {described}, but a suite must have at most {MAX_SUITE_RUNS:,}")
    return tuple(_comparison(table, file, origin.within(name), changes) for name, table in compare_tables.items())


def plan_run(preset: Preset, changes: Changes, origin: SourceLocation) -> PlannedRun:
    """Return a planned run with the settings of `preset`, changed by `changes`."""
    settings = _changed(_settings_of(preset, origin), changes, origin)
    return PlannedRun("", "", settings, preset.name if settings == preset.settings else as_changed(preset.name))


def comparison(
    name: str,
    runs: Sequence[PlannedRun],
    origin: SourceLocation,
    *,
    tasks: int | None = None,
    steps: int | None = None,
    shots: int | None = None,
    target: float | None = None,
) -> PlannedComparison:
    """Return the planned comparison of `runs`, without duplicate runs.

    Raises:
        BadInput: if the runs cannot be compared.
    """
    distinct = list({run.identity: run for run in runs}.values())
    settings = [run.settings for run in distinct]
    folders = [RunFolder(Path(f"run {i + 1}")) for i in range(len(distinct))]
    names = labels(folders, settings, [run.title for run in distinct])
    try:
        agreed = agree(settings, names, split="test", tasks=tasks, steps=steps, shots=shots, device=None)
        check_target(target, "accuracy" if settings[0].is_classification else "loss")
    except SettingsError as error:
        raise origin.settings(error) from None
    except BadInput as error:
        raise BadInput(f"{origin}: {error}") from None
    return PlannedComparison(
        name=name,
        runs=tuple(replace(run, comparison=name, label=label) for label, run in zip(names, distinct, strict=True)),
        tasks=tasks,
        steps=steps,
        shots=shots,
        target=target,
        warnings=agreed.warnings,
    )


def _comparison(table: CompareTable, file: Path, origin: SourceLocation, changes: Changes) -> PlannedComparison:
    runs = [
        PlannedRun("", "", settings, f"suite {file.stem}", title)
        for title, settings in _settings(table, file, origin, changes)
    ]
    return comparison(
        table.name, runs, origin, tasks=table.tasks, steps=table.steps, shots=table.shots, target=table.target
    )


def _settings(
    table: CompareTable, file: Path, origin: SourceLocation, changes: Changes
) -> Iterator[tuple[str, Settings]]:
    """Yield the label of each run (an empty string if none is given) and its settings."""
    seeds: Sequence[int | None] = table.seeds or [None]
    given: set[str] = set()
    for i, raw in enumerate(table.runs or [{}]):
        here = origin.within(f"{table.name}, run {i + 1}") if table.runs else origin
        run = read_table(LabelledRunTable, raw, here)
        if run.label in given:
            raise here.error("label", run.label, "different from the labels of the other runs")
        given |= {run.label} - {""}
        base = _base(run.preset if run.preset is not None else table.preset, file, here)
        for point in product(*table.grid.values()):
            for seed in seeds:
                at = {**table.set, **run.set, **dict(zip(table.grid, point, strict=True))}
                if seed is not None:
                    at["training.seed"] = seed
                yield run.label, _changed(base, {**at, **changes}, here)


def _base(name: str | None, file: Path, origin: SourceLocation) -> Settings:
    if name is None:
        return Settings()
    try:
        loaded = presets.load(file.parent / name if names_file(name) else name)
    except BadInput as error:
        raise BadInput(f"{origin}: preset is {quote(name)}: {error}") from None
    return _settings_of(loaded, origin)


def _settings_of(preset: Preset, origin: SourceLocation) -> Settings:
    if preset.changes:
        raise BadInput(
            f"{origin}: preset is {quote(preset.name)}, which has scheduled changes, but must be a preset without them"
        )
    return preset.settings


def _changed(settings: Settings, changes: Changes, origin: SourceLocation) -> Settings:
    try:
        return change(settings, changes)
    except SettingsError as error:
        raise origin.settings(error) from None
    except (RecursionError, ValueError):
        raise BadInput(f"{origin} has a value that is too large or too deeply nested to be a setting") from None
