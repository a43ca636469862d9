"""Fields of a suite's file, each of the type it must have or a sentence that says so."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from metatui.config.fields import find_field
from metatui.utils.errors import BadInput, SettingsError, quote


@dataclass(frozen=True)
class SourceLocation:
    """Where a value stands, for sentences."""

    file: str
    part: str = ""
    """The comparison, or its run."""

    def __str__(self) -> str:
        return f"{self.file}, {self.part}" if self.part else self.file

    def within(self, part: str) -> SourceLocation:
        return SourceLocation(self.file, part)

    def bad(self, field: str, value: object, allowed: str) -> BadInput:
        return BadInput(f"{self}: {field} is {quote(value)}, but must be {allowed}")

    def settings(self, error: SettingsError) -> SettingsError:
        return SettingsError(error.problems, origin=str(self))


def known(table: Mapping[str, Any], fields: Collection[str], origin: SourceLocation, prefix: str) -> None:
    """Raises BadInput where `table` has another key than `fields`."""
    for key in table:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else "there are " + ", ".join(fields)
            raise BadInput(f"{origin}: {quote(prefix + key)} is not known: {hint}")


def text(value: Any, origin: SourceLocation, field: str) -> str:
    if not isinstance(value, str):
        raise origin.bad(field, value, "text")
    return value


def whole(value: Any, origin: SourceLocation, field: str, least: int) -> int:
    if type(value) is not int or value < least:
        raise origin.bad(field, value, f"a whole number from {least:,}")
    return value


def number(value: Any, origin: SourceLocation, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise origin.bad(field, value, "a number")
    return float(value)


def several(value: Any, origin: SourceLocation, field: str, of: str) -> list[Any]:
    """A list with something in it."""
    if value is None:  # which TOML has no word for
        raise BadInput(f"{origin}: {field} is missing, but must be a list of {of}, at least one")
    if not isinstance(value, list) or not value:
        raise origin.bad(field, value, f"a list of {of}, at least one")
    return value


def tables(value: Any, origin: SourceLocation, field: str) -> list[dict[str, Any]]:
    found = several(value, origin, field, f"tables, each under [[{field}]]")
    for each in found:
        if not isinstance(each, dict):
            raise origin.bad(field, value, f"tables, each under [[{field}]]")
    return found


def by_path(value: Any, origin: SourceLocation, field: str) -> dict[str, Any]:
    """A table of settings as `group.key` to what it says of each, be the key quoted or the group a table."""
    if not isinstance(value, dict):
        raise origin.bad(field, value, "a table of settings, such as algorithm.name")
    found: dict[str, Any] = {}
    for key, item in value.items():
        found.update(
            {f"{key}.{name}": inner for name, inner in item.items()} if isinstance(item, dict) else {key: item}
        )
    for path in found:
        try:
            find_field(path)
        except SettingsError as error:
            raise BadInput(f"{origin}: {field}: {error}") from None
    return found
