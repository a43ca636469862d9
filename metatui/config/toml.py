"""Settings as TOML, the format of presets and of a run's settings.

A file has a `[preset]` table that describes the experiment, one table for each group of settings, and optional
`[[changes]]`, which are scheduled changes. Reading a file never runs code. Unknown keys are errors.
"""

from __future__ import annotations

import codecs
import os
import tomllib
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from metatui.config.fields import FIELDS, parse
from metatui.config.format_version import FORMAT, check_format
from metatui.config.registry import REGISTRIES
from metatui.config.schedule import Planned, as_tables
from metatui.config.settings import Settings
from metatui.utils.errors import BadInput, SettingsError, quote
from metatui.utils.files import read_bounded

MAX_BYTES = 256 * 1024
"""Maximum size in bytes of a settings file. Bundled presets have about 2,000 bytes."""


WIDE = ("utf-16", "utf-16-le", "utf-16-be", "utf-32")
"""Encodings other than UTF-8 in which programs may save text; such text is distinguished from binary files."""


def names_file(name_or_path: str | Path) -> bool:
    """Return whether `name_or_path` is the path of a TOML file rather than the name of a preset or suite."""
    return isinstance(name_or_path, Path) or os.sep in name_or_path or name_or_path.lower().endswith(".toml")


def toml_files(folder: Path) -> list[Path]:
    """Return the visible TOML files in `folder`, sorted by name; an empty list if the folder cannot be read."""
    try:
        return sorted(p for p in folder.iterdir() if p.suffix.lower() == ".toml" and not p.name.startswith("."))
    except OSError:
        return []


def parse_text(data: bytes) -> dict[str, Any]:
    """Parse the content of a TOML file, with or without a byte-order mark.

    Raises:
        ValueError: if the content is not TOML, or not UTF-8.
        RecursionError: if the content is nested too deeply.
    """
    if any(_is_text(data, encoding) for encoding in WIDE):
        raise ValueError("it looks like UTF-16 text; save it as UTF-8")
    return tomllib.loads(data.decode("utf-8-sig"))


def _is_text(data: bytes, encoding: str) -> bool:
    """Return whether `data`, which has null bytes or the byte-order mark of UTF-16, is text in a wide encoding."""
    if b"\0" not in data and not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\t\r\n" for character in text)


def read_tables(path: Path) -> dict[str, Any]:
    """Read a TOML file and check its format version.

    Raises:
        BadInput: if the file cannot be read. The message names the file and, if possible, the line.
    """
    data = read_bounded(path, MAX_BYTES)
    try:
        tables = parse_text(data)
    except RecursionError:
        raise BadInput(f"{quote(str(path), 200)} is nested too deeply for a settings file") from None
    except ValueError as error:
        cause = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise BadInput(f"{quote(str(path), 200)} is not TOML: {quote(cause, 200)[1:-1]}") from None
    check_format(tables.pop("format", FORMAT), quote(str(path), 200))
    return tables


def parse_tables(groups: Mapping[str, Any], path: Path) -> Settings:
    """Build settings from the tables of the file `path`.

    Raises:
        BadInput: if a setting is invalid. The message names the file and each invalid field.
    """
    try:
        return parse(groups)
    except SettingsError as error:
        raise SettingsError(error.problems, origin=quote(str(path), 200)) from None
    except (RecursionError, ValueError):
        raise BadInput(f"{quote(str(path), 200)} contains a value that is too large or nested too deeply") from None


def settings_toml(settings: Settings, about: Mapping[str, str], changes: Sequence[Planned] = (), *, whole: bool) -> str:
    """Format `settings` as TOML that `parse_tables` reads back as an equal value.

    Args:
        about: the `[preset]` table.
        changes: scheduled changes, for `[[changes]]`.
        whole: whether to write every setting, except options of components that are not selected, so that the file
            does not depend on defaults. Otherwise, the file is for human readers: it has the main settings and those
            that differ from their defaults, each with its help as a comment.
    """
    import tomlkit  # imported late, because it takes 60 ms and reading does not need it

    document = tomlkit.document()
    if whole:
        document["format"] = FORMAT
    if about:
        document["preset"] = tomlkit.item(dict(about))
    selected = {settings.effective(registry.setting) for registry in REGISTRIES}
    for group, fields in groupby(FIELDS.values(), key=lambda field: field.group):
        complete = whole and (group in dict(settings) or group in selected)
        table = tomlkit.table()
        for field in fields:
            value = settings.value(field.path)
            if not (complete or value != field.default or (field.main and field.is_relevant(settings))):
                continue
            item = tomlkit.item(list(value) if isinstance(value, tuple) else value)
            if not whole:
                item.comment(field.help)
            table[field.path.split(".")[1]] = item
        if table:
            document[group] = table
    if changes:
        tables = tomlkit.aot()
        for planned in as_tables(changes):
            table = tomlkit.table()
            table.update(planned)
            tables.append(table)
        document["changes"] = tables
    return tomlkit.dumps(document)
