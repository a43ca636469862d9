"""Loading of suites, by name or from TOML files in the format of presets/suites."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metatui.config import presets
from metatui.config.declarations import Scalar
from metatui.config.presets import NAME, Preset
from metatui.config.toml import names_file, read_tables, toml_files
from metatui.runs.suites.grid import comparison, comparisons, plan_run
from metatui.runs.suites.models import Suite
from metatui.runs.suites.tables import About, SourceLocation, SuiteFile, read_table
from metatui.utils import paths
from metatui.utils.errors import BadInput, did_you_mean, quote

OF_PRESETS = "presets"
"""Name of the additional suite into which `load` combines the given presets."""


def bundled_dir() -> Path:
    return presets.bundled_dir() / "suites"


def user_dir() -> Path:
    """Return the folder of the user's own suites."""
    return paths.user_presets_dir() / "suites"


def names() -> list[str]:
    """Return the names of all suites, without reading their files."""
    return sorted({path.stem for folder in (user_dir(), bundled_dir()) for path in toml_files(folder)})


def bundled() -> list[Suite]:
    """Return the bundled suites, sorted by name."""
    return [read(path) for path in _files(bundled_dir())]


def user() -> tuple[list[Suite], list[str]]:
    """Return the user's own valid suites, sorted by name, and an error message for each invalid one."""
    suites, problems = [], []
    for path in _files(user_dir()):
        try:
            suites.append(read(path))
        except BadInput as error:
            problems.append(str(error))
    return suites, problems


def _files(folder: Path) -> list[Path]:
    """Return the TOML files in `folder`, sorted by name."""
    return sorted(toml_files(folder), key=lambda path: path.stem)


def load(references: Sequence[str | Path], changes: Mapping[str, Scalar] | None = None) -> list[Suite]:
    """Load suites by name or file; presets and preset files are combined into an additional suite that compares them.

    Args:
        changes: settings that override the settings of all runs.

    Raises:
        BadInput: if no suite or preset has a given name, or a file is invalid.
    """
    changes = changes or {}
    suites: list[Suite] = []
    single: list[Preset] = []
    for reference in references:
        path = _file(reference)
        if path is None:
            single.append(_preset(str(reference)))
        elif "compare" in (tables := read_tables(path)) or "suite" in tables:
            suites.append(_suite(tables, path, changes))
        else:
            single.append(presets.read(path))
    if single:
        suites.append(_of_presets(single, changes))
    for name, count in Counter(suite.name for suite in suites).items():
        if count > 1:
            raise BadInput(f"suite {quote(name)} is given twice: specify suites only once, and give each a unique name")
    return suites


def read(path: Path) -> Suite:
    """Read the suite in the file `path`.

    Raises:
        BadInput: if the file is invalid; the message names file, field and value.
    """
    return _suite(read_tables(path), path, {})


def _file(reference: str | Path) -> Path | None:
    """Return the file of a suite, given its path or the name of the suite; None if no suite has this name."""
    text = str(reference)
    if names_file(reference):
        return paths.expanded(text)
    return next(
        (path for folder in (user_dir(), bundled_dir()) for path in toml_files(folder) if path.stem == text), None
    )


def _preset(name: str) -> Preset:
    preset_names = presets.names()
    if name in preset_names:
        return presets.load(name)
    otherwise = "'metatui suite' lists suites, and 'metatui presets' lists presets"
    hint = did_you_mean(name, [*names(), *preset_names], otherwise, cutoff=0.4)
    raise BadInput(f"{quote(name)} is neither a suite, nor a preset, nor a TOML file: {hint}")


def _of_presets(single: Sequence[Preset], changes: Mapping[str, Scalar]) -> Suite:
    runs = [plan_run(preset, changes, SourceLocation(preset.name)) for preset in single]
    return Suite(
        name=OF_PRESETS,
        title=f"Presets {', '.join(preset.name for preset in single)}",
        source="",
        measured="",
        notes="",
        comparisons=(comparison(OF_PRESETS, runs, SourceLocation("presets")),),
        path=None,
    )


def _suite(tables: Mapping[str, Any], path: Path, changes: Mapping[str, Scalar]) -> Suite:
    origin = SourceLocation(quote(str(path), 200))
    if not NAME.fullmatch(path.stem):
        raise BadInput(f"{origin}: the file name must be 1 to 64 letters, digits, '-' or '_', followed by .toml")
    file = read_table(SuiteFile, tables, origin)
    about = read_table(About, file.suite, origin, "suite.").printable()
    return Suite(path.stem, **about, comparisons=comparisons(file.compare, path, origin, changes), path=path)
