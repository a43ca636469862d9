"""Suites by name or from files; the format is that of the files in presets/suites."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from metatui.config import presets
from metatui.config.presets import NAME, Preset
from metatui.config.settings import Scalar
from metatui.config.toml import names_file, read_tables, toml_files
from metatui.runs.suites.grid import comparison, comparisons, planned
from metatui.runs.suites.models import MOST_RUNS, PlannedRun, Suite
from metatui.runs.suites.validators import SourceLocation, known, text
from metatui.utils import paths
from metatui.utils.errors import BadInput, quote
from metatui.utils.text import sanitize

ABOUT = ("title", "source", "measured", "notes")
"""The keys of a file's `[suite]` table."""

OF_PRESETS = "presets"
"""The suite of presets that are given by name."""


def bundled_dir() -> Path:
    return presets.bundled_dir() / "suites"


def user_dir() -> Path:
    """Where the user's own suites are."""
    return paths.user_presets_dir() / "suites"


def names() -> list[str]:
    """Of the bundled suites and the user's own, without opening a file."""
    return sorted({path.stem for folder in (user_dir(), bundled_dir()) for path in toml_files(folder)})


def bundled() -> list[Suite]:
    """The suites that come with metatui, by name."""
    return [read(path) for path in _files(bundled_dir())]


def user() -> list[Suite]:
    """The user's own suites that can be read, by name; `problems` says what is wrong with the others."""
    found = []
    for path in _files(user_dir()):
        with suppress(BadInput):
            found.append(read(path))
    return found


def _files(folder: Path) -> list[Path]:
    """The TOML files in `folder`, by name."""
    return sorted(toml_files(folder), key=lambda path: path.stem)


def problems() -> list[str]:
    """One sentence for each of the user's own suites that cannot be used."""
    said = []
    for path in toml_files(user_dir()):
        try:
            read(path)
        except BadInput as error:
            said.append(str(error))
    return said


def load(given: Sequence[str | Path], changes: Mapping[str, Scalar] | None = None) -> list[Suite]:
    """Suites by their names or files. Presets and their files are runs of one more suite, which compares them.

    Args:
        changes: settings that all runs have, whatever their suite says.

    Raises:
        BadInput: there is none of a name, or a file cannot be used, with the field and its value.
    """
    changes = changes or {}
    found: list[Suite] = []
    loose: list[Preset] = []
    for each in given:
        path = _file(each)
        if path is None:
            loose.append(_preset(str(each)))
        elif "compare" in (tables := read_tables(path)) or "suite" in tables:
            found.append(_suite(tables, path, changes))
        else:
            loose.append(presets.read(path))
    if loose:
        found.append(_of_presets(loose, changes))
    seen = set()
    for suite in found:
        if suite.name in seen:
            raise BadInput(f"suite {quote(suite.name)} is given twice: give each suite once, under a name of its own")
        seen.add(suite.name)
    return found


def read(path: Path, changes: Mapping[str, Scalar] | None = None) -> Suite:
    """The suite in the file `path`. Raises BadInput, which names the file, the field and the value."""
    return _suite(read_tables(path), path, changes or {})


def _file(given: str | Path) -> Path | None:
    """Where the suite or preset is, but for presets that are given by name. The user's own suites come first."""
    text = str(given)
    if names_file(given):
        return paths.expanded(text)
    return next(
        (path for folder in (user_dir(), bundled_dir()) for path in toml_files(folder) if path.stem == text), None
    )


def _preset(name: str) -> Preset:
    known_names = presets.names()
    if name in known_names:
        return presets.load(name)
    near = difflib.get_close_matches(name, [*names(), *known_names], n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else "metatui suite lists the suites, metatui presets the presets"
    raise BadInput(f"{quote(name)} is neither a suite, nor a preset, nor a TOML file: {hint}")


def _of_presets(loose: Sequence[Preset], changes: Mapping[str, Scalar]) -> Suite:
    runs = [planned(preset, changes, SourceLocation(preset.name)) for preset in loose]
    return Suite(
        name=OF_PRESETS,
        title=f"Presets {', '.join(preset.name for preset in loose)}",
        source="", measured="", notes="",
        comparisons=(comparison(OF_PRESETS, runs, SourceLocation("presets")),),
        path=None,
    )  # fmt: skip


def _suite(tables: Mapping[str, Any], path: Path, changes: Mapping[str, Scalar]) -> Suite:
    origin = SourceLocation(quote(str(path), 200))
    if not NAME.fullmatch(path.stem):
        raise BadInput(f"{origin} must be called after the suite: 1 to 64 letters, digits, '-' or '_', then .toml")
    known(tables, ("suite", "compare"), origin, "")
    about = tables.get("suite", {})
    if not isinstance(about, dict):
        raise origin.bad("suite", about, "a table of texts")
    known(about, ABOUT, origin, "suite.")
    texts = {key: sanitize(text(value, origin, f"suite.{key}"), limit=2000) for key, value in about.items()}
    found = comparisons(tables.get("compare"), path, origin, changes)
    runs: list[PlannedRun] = [run for each in found for run in each.runs]
    assert len(runs) <= MOST_RUNS
    return Suite(
        name=path.stem,
        title=texts.get("title", ""),
        source=texts.get("source", ""),
        measured=texts.get("measured", ""),
        notes=texts.get("notes", ""),
        comparisons=found,
        path=path,
    )
