"""Presets: named experiments, one TOML file each, bundled with metatui or saved by the user.

In addition to its settings, a preset states its source, its protocol, the published result if there is one, and the
result that was measured with metatui.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from metatui.config.schedule import Planned, checked, read_changes
from metatui.config.settings import Settings
from metatui.config.toml import names_file, parse_tables, read_tables, settings_toml, toml_files
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError, did_you_mean, quote
from metatui.utils.files import reason, write_atomically
from metatui.utils.text import sanitize

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Pattern of the names under which metatui saves presets. Files from elsewhere may have any printable name."""
ABOUT = ("title", "source", "protocol", "published", "published_protocol", "measured", "notes")
"""Keys of the `[preset]` table."""

CHANGED = " (changed)"
"""Suffix of a preset's name in the journal of a run whose settings differ from those of the preset."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named experiment. Missing strings are empty, and missing numbers are None.

    Example:
        >>> preset = metatui.load_preset("sinusoid-finn")
        >>> preset.bundled, preset.settings.algorithm.name
        (True, 'maml')
    """

    name: str
    title: str = ""
    source: str = ""
    """Origin of the settings: a paper, a repository or a run."""
    protocol: str = ""
    """Protocol of the measured result: split, tasks, shots, inner steps, batch-norm mode."""
    published: str | None = None
    published_protocol: str = ""
    """Protocol of the published result, and whether results of this preset can be compared with that result."""
    measured: str | None = None
    notes: str = ""
    settings: Settings
    path: Path
    bundled: bool
    changes: tuple[Planned, ...] = ()
    """Scheduled changes of live settings, and additional validations, in order."""

    @property
    def published_note(self) -> str:
        """Published result, followed by `(not comparable)` if its protocol differs from that of the preset.

        If no published result is known, this is an empty string.
        """
        note = " (not comparable)" if "Not comparable" in self.published_protocol else ""
        return f"{self.published}{note}" if self.published else ""


def bundled_dir() -> Path:
    """Return the folder of the bundled presets: inside the package in a wheel, or next to it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "_presets"
    return installed if installed.is_dir() else package.parent / "presets"


def bundled() -> list[Preset]:
    """Return the bundled presets, sorted by name."""
    return [read(path) for path in toml_files(bundled_dir())]


def user() -> tuple[list[Preset], list[str]]:
    """Return the user's presets, sorted by name, and a sentence for each file that cannot be read."""
    presets: dict[str, Preset] = {}
    sentences = []
    for path in toml_files(paths.user_presets_dir()):
        name = quote(str(path), 200)
        try:
            if sanitize(path.stem, limit=64) != path.stem:
                raise BadInput(f"{name} is skipped: give it a name of at most 64 printable characters")
            if path.stem in presets:
                raise BadInput(f"{name} is skipped: {presets[path.stem].path.name} has the same name")
            presets[path.stem] = read(path)
        except BadInput as error:
            sentences.append(str(error))
    return list(presets.values()), sentences


def names() -> list[str]:
    """Return the names that `load` accepts. This does not open any files."""
    return sorted({path.stem for folder in (bundled_dir(), paths.user_presets_dir()) for path in toml_files(folder)})


def load(name_or_path: str | Path) -> Preset:
    """Return a preset by its name or by the path of a TOML file.

    A preset of the user takes precedence over a bundled one of the same name.

    Raises:
        BadInput: if there is no such preset (the message suggests the nearest name), or if the file cannot be used.

    Example:
        >>> metatui.load_preset("quick").settings.task.source
        'sinusoid'
    """
    text = str(name_or_path)
    if names_file(name_or_path):
        file = paths.expanded(text)
        with suppress(OSError, ValueError):
            if file.is_dir():
                raise BadInput(f"{quote(text, 200)} is a folder, but must be a preset's name or a TOML file")
        return read(file)
    for folder in (paths.user_presets_dir(), bundled_dir()):
        if path := _named(text, folder):
            return read(path)
    hint = did_you_mean(text, names(), "'metatui presets' lists all presets", cutoff=0.4)
    raise BadInput(f"{quote(text)} is neither a preset nor a TOML file: {hint}")


def read(path: Path) -> Preset:
    """Read a preset from the TOML file `path`.

    Raises:
        BadInput: if the file cannot be read or is invalid. The message names the file, the field and its value.
    """
    tables = read_tables(path)
    about = _about(tables.pop("preset", {}), path)
    changes = tables.pop("changes", [])
    settings = parse_tables(tables, path)
    return Preset(
        name=sanitize(path.stem, limit=64),
        **about,
        settings=settings,
        path=path,
        bundled=path.parent == bundled_dir(),
        changes=_changes(changes, settings, path),
    )


def save(
    name: str,
    settings: Settings,
    *,
    title: str = "",
    source: str = "",
    protocol: str = "",
    measured: str = "",
    notes: str = "",
    changes: Sequence[Planned] = (),
    overwrite: bool = False,
) -> Preset:
    """Save `settings` as the user's preset `name` and return the preset.

    Args:
        changes: scheduled changes and validations.
        overwrite: whether to replace an existing preset of the user.

    Raises:
        BadInput: if the name is invalid or taken, or a change is not allowed.
        WriteRefusedError: if the file cannot be written.
    """
    check_name(name)
    path = _named(name, paths.user_presets_dir()) or paths.user_presets_dir() / f"{name}.toml"
    if _named(name, bundled_dir()):
        raise BadInput(f"{quote(name)} is a bundled preset: choose another name")
    if os.path.exists(path) and not overwrite:
        raise BadInput(f"{quote(name)} is already one of your presets: choose another name, or overwrite it")
    texts = {"title": title, "source": source, "protocol": protocol, "measured": measured, "notes": notes}
    about = {key: sanitize(text, limit=2000) for key, text in texts.items() if text}
    write_atomically(path, settings_toml(settings, about, checked(changes, settings), whole=False).encode())
    return read(path)


def delete(name: str) -> None:
    """Delete the user's preset `name`.

    Raises:
        BadInput: if the user has no such preset.
        MetatuiError: if the file cannot be deleted.
    """
    path = _named(name, paths.user_presets_dir())
    if path is None:
        if _named(name, bundled_dir()):
            raise BadInput(f"{quote(name)} is a bundled preset and cannot be deleted")
        raise BadInput(f"{quote(name)} is not one of your presets")
    try:
        path.unlink()
    except FileNotFoundError:
        raise BadInput(f"{quote(name)} is not one of your presets") from None
    except OSError as error:
        raise MetatuiError(f"{quote(str(path), 200)} cannot be deleted: {reason(error)}") from None


def as_changed(origin: str) -> str:
    """Return the origin of changed settings: `quick (changed)` for the preset `quick`."""
    return f"{without_changed(origin)}{CHANGED}"


def without_changed(origin: str) -> str:
    """Return the origin without the suffix `CHANGED`."""
    return origin.removesuffix(CHANGED)


def free_name(name: str) -> str:
    """Return `name` or, if there is a preset of this name, the first of `name-2`, `name-3`, ... that is free."""
    taken = names()
    return next(each for each in chain([name], (f"{name}-{number}" for number in count(2))) if each not in taken)


def check_name(name: str) -> None:
    """Raise BadInput if a preset cannot be saved under `name`."""
    if not NAME.fullmatch(name):
        raise BadInput(f"preset name is {quote(name)}, but must be 1 to 64 letters, digits, '-' or '_'")


def _named(name: str, folder: Path) -> Path | None:
    return next((path for path in toml_files(folder) if path.stem == name and os.path.isfile(path)), None)


def _changes(items: Any, settings: Settings, path: Path) -> tuple[Planned, ...]:
    try:
        return read_changes(items, settings)
    except BadInput as error:
        raise BadInput(f"{quote(str(path), 200)}: {error}") from None


def _about(table: Any, path: Path) -> Mapping[str, str]:
    origin = quote(str(path), 200)
    if not isinstance(table, dict):
        raise BadInput(f"{origin}: preset is {quote(table)}, but must be a table of strings")
    for key, value in table.items():
        if key not in ABOUT:
            hint = did_you_mean(key, ABOUT, f"the keys are {', '.join(ABOUT)}", prefix="preset.")
            raise BadInput(f"{origin}: {quote(f'preset.{key}')} is unknown: {hint}")
        if not isinstance(value, str):
            raise BadInput(f"{origin}: preset.{key} is {quote(value)}, but must be text")
    return {key: sanitize(value, limit=2000) for key, value in table.items()}
