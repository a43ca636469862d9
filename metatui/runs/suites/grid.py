"""Expansion of the `[[compare]]` tables of a suite file into runs, all checked before training starts.

All functions raise BadInput for invalid values, with the location of the value.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from metatui.config import presets
from metatui.config.declarations import Scalar
from metatui.config.fields import change, find_field
from metatui.config.presets import NAME, Preset
from metatui.config.settings import Settings
from metatui.config.toml import names_file
from metatui.runs.analysis.comparison.compare_runs import check_target
from metatui.runs.analysis.comparison.labels import labels
from metatui.runs.analysis.comparison.shared_protocol import agree
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.suites.models import MOST_RUNS, PlannedComparison, PlannedRun, affects_result
from metatui.utils.errors import BadInput, SettingsError, quote

COMPARE = ("name", "preset", "set", "grid", "seeds", "runs", "tasks", "steps", "shots", "target")
RUN = ("preset", "set")

Changes = Mapping[str, Scalar]


def comparisons(value: Any, file: Path, origin: SourceLocation, changes: Changes) -> tuple[PlannedComparison, ...]:
    """Return the comparisons in `value`, the `compare` key of `file`; raise BadInput for invalid ones."""
    compare_tables = tables(value, origin, "compare")
    names: set[str] = set()
    runs = 0
    for i, table in enumerate(compare_tables):
        here = origin.within(f"compare {i + 1}")
        check_keys(table, COMPARE, here, "")
        name = text(table.get("name", ""), here, "name")
        if not NAME.fullmatch(name):
            raise here.bad("name", name, "1 to 64 letters, digits, '-' or '_'")
        if name in names:
            raise here.bad("name", name, "different from the names of the other comparisons")
        names.add(name)
        runs += _count(table, origin.within(name))
        if runs > MOST_RUNS:
            raise BadInput(
                f"{origin}: runs x grid x seeds are {runs:,}, but a suite must have at most {MOST_RUNS:,} runs"
            )
    return tuple(_comparison(table, file, origin.within(table["name"]), changes) for table in compare_tables)


def planned(preset: Preset, changes: Changes, origin: SourceLocation) -> PlannedRun:
    """Return a run with the settings of `preset`."""
    settings = _changed(_settings_of(preset, origin), changes, origin)
    return PlannedRun("", "", settings, preset.name if settings == preset.settings else f"{preset.name} (changed)")


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
    names = labels([RunFolder(Path(f"run {i + 1}")) for i in range(len(distinct))], settings)
    try:
        agreed = agree(settings, names, split="test", tasks=tasks, steps=steps, shots=shots, device=None)
        check_target(target, "accuracy" if settings[0].is_classification else "loss")
    except SettingsError as error:
        raise origin.settings(error) from None
    except BadInput as error:
        raise BadInput(f"{origin}: {error}") from None
    return PlannedComparison(
        name=name,
        runs=tuple(
            PlannedRun(name, label, run.settings, run.origin) for label, run in zip(names, distinct, strict=True)
        ),
        tasks=tasks,
        steps=steps,
        shots=shots,
        target=target,
        warnings=agreed.warnings,
    )


def _comparison(table: Mapping[str, Any], file: Path, origin: SourceLocation, changes: Changes) -> PlannedComparison:
    least = {"tasks": 2, "steps": 1, "shots": 1}
    counts = {key: whole(table[key], origin, key, low) for key, low in least.items() if key in table}
    target = number(table["target"], origin, "target") if "target" in table else None
    runs = [PlannedRun("", "", settings, f"suite {file.stem}") for settings in _settings(table, file, origin, changes)]
    return comparison(origin.part, runs, origin, **counts, target=target)


def _count(table: Mapping[str, Any], origin: SourceLocation) -> int:
    """Return the number of runs of `table`, including duplicates."""
    runs = len(tables(table["runs"], origin, "runs")) if "runs" in table else 1
    points = math.prod(len(values) for values in _grid(table, origin).values())
    return runs * points * len(_seeds(table, origin))


def _settings(table: Mapping[str, Any], file: Path, origin: SourceLocation, changes: Changes) -> Iterator[Settings]:
    shared = by_path(table.get("set", {}), origin, "set")
    grid = _grid(table, origin)
    for i, run in enumerate(table.get("runs", [{}])):
        here = origin.within(f"{origin.part}, run {i + 1}") if "runs" in table else origin
        check_keys(run, RUN, here, "")
        own = by_path(run.get("set", {}), here, "set")
        base = _base(run.get("preset", table.get("preset")), file, here)
        for point in product(*grid.values()):
            for seed in _seeds(table, origin):
                at = {**shared, **own, **dict(zip(grid, point, strict=True))}
                if seed is not None:
                    at["training.seed"] = seed
                yield _changed(base, {**at, **changes}, here)


def _base(preset: Any, file: Path, origin: SourceLocation) -> Settings:
    if preset is None:
        return Settings()
    name = text(preset, origin, "preset")
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


def _grid(table: Mapping[str, Any], origin: SourceLocation) -> dict[str, list[Any]]:
    grid = by_path(table.get("grid", {}), origin, "grid")
    for path, values in grid.items():
        several(values, origin, f"grid.{path}", "values")
        if not affects_result(path):
            raise BadInput(f"{origin}: grid.{path} does not affect results, so its values would give identical runs")
    return grid


def _seeds(table: Mapping[str, Any], origin: SourceLocation) -> list[int] | list[None]:
    if "seeds" not in table:
        return [None]
    seeds = several(table["seeds"], origin, "seeds", "whole numbers")
    if "training.seed" in by_path(table.get("grid", {}), origin, "grid"):
        raise BadInput(f"{origin}: seeds and grid.training.seed set the same setting: give only one of them")
    return [whole(seed, origin, "seeds", 0) for seed in seeds]


def _changed(settings: Settings, changes: Changes, origin: SourceLocation) -> Settings:
    try:
        return change(settings, changes)
    except SettingsError as error:
        raise origin.settings(error) from None
    except (RecursionError, ValueError):
        raise BadInput(f"{origin} has a value that is too large or too deeply nested to be a setting") from None


@dataclass(frozen=True)
class SourceLocation:
    """Location of a value, for error messages."""

    file: str
    part: str = ""
    """Name of the comparison or run."""

    def __str__(self) -> str:
        return f"{self.file}, {self.part}" if self.part else self.file

    def within(self, part: str) -> SourceLocation:
        return SourceLocation(self.file, part)

    def bad(self, field: str, value: object, allowed: str) -> BadInput:
        return BadInput(f"{self}: {field} is {quote(value)}, but must be {allowed}")

    def settings(self, error: SettingsError) -> SettingsError:
        return SettingsError(error.problems, origin=str(self))


def check_keys(table: Mapping[str, Any], fields: Collection[str], origin: SourceLocation, prefix: str) -> None:
    """Check that `table` has only keys in `fields`."""
    for key in table:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else "the keys are " + ", ".join(fields)
            raise BadInput(f"{origin}: {quote(prefix + key)} is not a known key: {hint}")


def text(value: Any, origin: SourceLocation, field: str) -> str:
    """Return `value`, which must be a string."""
    if not isinstance(value, str):
        raise origin.bad(field, value, "text")
    return value


def whole(value: Any, origin: SourceLocation, field: str, least: int) -> int:
    """Check that `value` is an integer of at least `least`, and return it."""
    if type(value) is not int or value < least:
        raise origin.bad(field, value, f"a whole number of at least {least:,}")
    return value


def number(value: Any, origin: SourceLocation, field: str) -> float:
    """Check that `value` is a finite number, and return it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise origin.bad(field, value, "a number")
    return float(value)


def several(value: Any, origin: SourceLocation, field: str, of: str) -> list[Any]:
    """Return `value` if it is a non-empty list. Error messages describe its items as `of`."""
    if value is None:  # TOML has no null
        raise BadInput(f"{origin}: {field} is missing, but must be a non-empty list of {of}")
    if not isinstance(value, list) or not value:
        raise origin.bad(field, value, f"a non-empty list of {of}")
    return value


def tables(value: Any, origin: SourceLocation, field: str) -> list[dict[str, Any]]:
    """Return `value`, which must be a non-empty list of tables."""
    items = several(value, origin, field, "tables")
    for item in items:
        if not isinstance(item, dict):
            raise origin.bad(field, value, "a non-empty list of tables")
    return items


def by_path(value: Any, origin: SourceLocation, field: str) -> dict[str, Any]:
    """Flatten a table of settings to `group.key`, whether its keys are quoted or its groups are nested tables."""
    if not isinstance(value, dict):
        raise origin.bad(field, value, "a table of settings, such as algorithm.name")
    settings: dict[str, Any] = {}
    for key, item in value.items():
        settings |= {f"{key}.{name}": inner for name, inner in item.items()} if isinstance(item, dict) else {key: item}
    for path in settings:
        try:
            find_field(path)
        except SettingsError as error:
            raise BadInput(f"{origin}: {field}: {error}") from None
    return settings
