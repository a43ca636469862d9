"""A file's `[[compare]]` tables spread out: every run, each with its own settings, checked before any is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from metatui.config import presets
from metatui.config.fields import change
from metatui.config.presets import NAME, Preset
from metatui.config.settings import Scalar, Settings
from metatui.config.toml import names_file
from metatui.runs.analysis.comparison.compare_runs import check_target
from metatui.runs.analysis.comparison.labels import labels
from metatui.runs.analysis.comparison.shared_protocol import agree
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.suites.models import MOST_RUNS, PlannedComparison, PlannedRun, makes_a_run
from metatui.runs.suites.validators import SourceLocation, by_path, known, number, several, tables, text, whole
from metatui.utils.errors import BadInput, SettingsError, quote

COMPARE = ("name", "preset", "set", "grid", "seeds", "runs", "tasks", "steps", "shots", "target")
RUN = ("preset", "set")

Changes = Mapping[str, Scalar]


def comparisons(value: Any, file: Path, origin: SourceLocation, changes: Changes) -> tuple[PlannedComparison, ...]:
    """The comparisons in `value`, which the file `file` has under `compare`. Raises BadInput."""
    given = tables(value, origin, "compare")
    known_names: set[str] = set()
    counted = 0
    for i, table in enumerate(given):
        here = origin.within(f"compare {i + 1}")
        known(table, COMPARE, here, "")
        name = text(table.get("name", ""), here, "name")
        if not NAME.fullmatch(name):
            raise here.bad("name", name, "1 to 64 letters, digits, '-' or '_'")
        if name in known_names:
            raise here.bad("name", name, "another than that of the comparisons before it")
        known_names.add(name)
        counted += _count(table, origin.within(name))
        if counted > MOST_RUNS:
            raise BadInput(
                f"{origin}: runs x grid x seeds are {counted:,}, but must be at most {MOST_RUNS:,} in a suite"
            )
    return tuple(_comparison(table, file, origin.within(table["name"]), changes) for table in given)


def planned(preset: Preset, changes: Changes, origin: SourceLocation) -> PlannedRun:
    """`preset` as a run of its own."""
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
    """The comparison of `runs`, those that would be the same run once.

    Raises BadInput where they could not be compared: it is known before they are trained.
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
    """Runs that `table` stands for, the same ones counted as often as they are there."""
    runs = len(tables(table["runs"], origin, "runs")) if "runs" in table else 1
    points = math.prod(len(values) for values in _grid(table, origin).values())
    return runs * points * len(_seeds(table, origin))


def _settings(table: Mapping[str, Any], file: Path, origin: SourceLocation, changes: Changes) -> Iterator[Settings]:
    shared = by_path(table.get("set", {}), origin, "set")
    grid = _grid(table, origin)
    for i, run in enumerate(table.get("runs", [{}])):
        here = origin.within(f"{origin.part}, run {i + 1}") if "runs" in table else origin
        known(run, RUN, here, "")
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
    where = file.parent / name if names_file(name) else name
    try:
        found = presets.load(where)
    except BadInput as error:
        raise BadInput(f"{origin}: preset is {quote(name)}: {error}") from None
    return _settings_of(found, origin)


def _settings_of(preset: Preset, origin: SourceLocation) -> Settings:
    if preset.changes:
        raise BadInput(
            f"{origin}: preset is {quote(preset.name)}, which changes settings while it trains, but must be one that "
            "does not"
        )
    return preset.settings


def _grid(table: Mapping[str, Any], origin: SourceLocation) -> dict[str, list[Any]]:
    grid = by_path(table.get("grid", {}), origin, "grid")
    for path, values in grid.items():
        several(values, origin, f"grid.{path}", "values")
        if not makes_a_run(path):
            raise BadInput(f"{origin}: grid.{path} makes no run of its own: it changes nothing of what is learned")
    return grid


def _seeds(table: Mapping[str, Any], origin: SourceLocation) -> list[int] | list[None]:
    if "seeds" not in table:
        return [None]
    seeds = several(table["seeds"], origin, "seeds", "whole numbers")
    if "training.seed" in by_path(table.get("grid", {}), origin, "grid"):
        raise BadInput(f"{origin}: seeds and grid.training.seed say the same: give one of them")
    return [whole(seed, origin, "seeds", 0) for seed in seeds]


def _changed(settings: Settings, changes: Changes, origin: SourceLocation) -> Settings:
    try:
        return change(settings, changes)
    except SettingsError as error:
        raise origin.settings(error) from None
    except (RecursionError, ValueError):
        raise BadInput(f"{origin} holds a value too large or too deep to be a setting") from None
