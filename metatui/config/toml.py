"""Settings as TOML: the format that presets and runs share.

A `[preset]` table of strings about the experiment, then one table for each group of settings, then perhaps
`[[changes]]` that are made while it trains. Nothing in such a file can run code, and what is not known is an error.
"""

from __future__ import annotations

import codecs
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metatui.config.fields import FIELDS, parse
from metatui.config.format_version import FORMAT, check_format
from metatui.config.schedule import Planned, as_tables
from metatui.config.settings import Settings
from metatui.utils.errors import BadInput, SettingsError, quote
from metatui.utils.files import read_bounded

LARGEST = 256 * 1024
"""Bytes that a settings file may have; ours have about two thousand."""


def names_file(given: str | Path) -> bool:
    """Whether `given` is the path of a TOML file, rather than the name of a preset or suite."""
    return isinstance(given, Path) or os.sep in given or given.lower().endswith(".toml")


def toml_files(folder: Path) -> list[Path]:
    """The TOML files in `folder` sorted by name, without hidden ones; none if the folder cannot be read."""
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() == ".toml"]
    except OSError:
        return []
    return sorted(path for path in found if not path.name.startswith("."))


def parse_text(data: bytes) -> dict[str, Any]:
    """The tables in the content of a TOML file. A byte-order mark, which some editors write, is skipped.

    Raises:
        ValueError: the content is not TOML, or not UTF-8.
        RecursionError: the content is nested too deeply.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data:
        raise ValueError("it looks like UTF-16 text, save it as UTF-8")
    return tomllib.loads(data.decode("utf-8-sig"))


def read_tables(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises BadInput, which names the file and, where it can, the line."""
    data = read_bounded(path, LARGEST)
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
    """Settings from the tables of the file `path`. Raises SettingsError, which names the file and each field."""
    try:
        return parse(groups)
    except SettingsError as error:
        raise SettingsError(error.problems, origin=quote(str(path), 200)) from None
    except (RecursionError, ValueError):
        raise BadInput(f"{quote(str(path), 200)} holds a value too large or too deep to be a setting") from None


def settings_toml(settings: Settings, about: Mapping[str, str], changes: Sequence[Planned] = (), *, whole: bool) -> str:
    """`settings` as TOML text that `parse_tables` reads back to an equal value.

    Args:
        about: the `[preset]` table.
        changes: what is to be changed on the way, for `[[changes]]`.
        whole: every setting, as a run's folder needs to mean the same for ever; otherwise those that differ from
            the default and the main ones, each with its help, as a person wants to read and edit them.
    """
    import tomlkit  # 60 ms that reading never needs

    document = tomlkit.document()
    if whole:
        document["format"] = FORMAT
    if about:
        document["preset"] = tomlkit.item(dict(about))
    for group in Settings.model_fields:
        table = tomlkit.table()
        for knob in (knob for knob in FIELDS.values() if knob.group == group):
            value = settings.value(knob.path)
            if not (whole or value != knob.default or (knob.main and knob.is_relevant(settings))):
                continue
            item = tomlkit.item(list(value) if isinstance(value, tuple) else value)
            if not whole:
                item.comment(knob.help)
            table[knob.path.split(".")[1]] = item
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
