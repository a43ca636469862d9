"""Saved preferences of the app: theme, pane sizes, whether runs hide the form, and whether the tour was offered.

Also the function that reads TOML files in the user's configuration folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from metatui.config.toml import parse_text
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError, quote
from metatui.utils.files import read_bounded, write_atomically, writing

MAX_BYTES = 64 * 1024
"""Maximum size in bytes of the preferences file, and of the keymap file."""


ALLOWED = {
    "theme": "the name of a theme",
    "fold_form": "true or false",
    "tour_offered": "true or false",
    "panes": "a table",
    "panes.left": "a number of columns from 1 to 1,000",
    "panes.journal": "a number of rows from 1 to 1,000",
    "panes.curves": "a percentage from 1 to 99",
}
"""The allowed values of each key of the preferences file, for error messages."""


class _Table(BaseModel):
    # Keys of other versions are ignored, and kept when the file is written.
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class PaneSizes(_Table):
    """Pane sizes that the user has changed. None stands for the default size, which depends on the terminal."""

    left: int | None = Field(default=None, ge=1, le=1000)
    """Width of the left column of panes, in characters."""
    journal: int | None = Field(default=None, ge=1, le=1000)
    """Height of the journal pane, in rows."""
    curves: int | None = Field(default=None, ge=1, le=99)
    """Height (or width, if the panes are side by side) of the curves pane, as a percentage of the height (or width) of
    the curves and adaptation panes together."""


class Preferences(_Table):
    theme: str | None = None
    fold_form: bool = True
    """Whether the form is hidden while a run is shown."""
    panes: PaneSizes = PaneSizes()
    tour_offered: bool = False
    """Whether the app has already offered the tour. It makes the offer when it is started for the first time."""


def load() -> Preferences:
    """Return the saved preferences. Raises BadInput if the file cannot be used."""
    try:
        return Preferences.model_validate(_saved())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BadInput(
            f"{quote(str(paths.app_state_file()), 200)} is ignored: {key} is {quote(first['input'])}, but must be "
            f"{ALLOWED[key]}"
        ) from None


def save(preferences: Preferences) -> Path | None:
    """Save the preferences that differ from the defaults.

    Returns:
        The new path of the previous file if it was renamed because `load` could not use it, otherwise None.

    Raises:
        MetatuiError: if the preferences cannot be saved.
    """
    import tomlkit  # imported late, because it takes 60 ms and reading does not need it

    if preferences.theme is not None and not preferences.theme.isprintable():
        raise MetatuiError(f"{quote(preferences.theme)} is not the name of a theme")
    path, kept, others, panes = paths.app_state_file(), None, {}, {}
    try:
        saved = _saved()
        others, panes = _others(saved, Preferences), _others(saved.get("panes"), PaneSizes)
        load()
    except BadInput:
        if path.is_file():
            kept = path.with_name(f"{path.name}.bad")
            with writing(kept):
                path.replace(kept)
    own = preferences.model_dump(exclude_defaults=True, exclude_none=True)
    panes |= own.get("panes", {})
    if panes:
        own["panes"] = panes
    write_atomically(path, tomlkit.dumps(others | own).encode())
    return kept


def _others(table: object, known: type[_Table]) -> dict[str, Any]:
    """Return the items of `table` whose keys this version does not know; an empty dict if `table` is not a table."""
    if not isinstance(table, dict):
        return {}
    return {key: value for key, value in table.items() if key not in known.model_fields}


def _saved() -> dict[str, Any]:
    return read_table(paths.app_state_file(), "is ignored, because it is not a TOML file")


def read_table(path: Path, not_toml: str) -> dict[str, Any]:
    """Return the content of one of the user's TOML files, or an empty dict if the file does not exist.

    Args:
        not_toml: words between the path and the reason in the message about a file that is not valid TOML.

    Raises:
        BadInput: if the file cannot be read, or is not valid TOML.
    """
    if not os.path.lexists(path):
        return {}
    try:
        return parse_text(read_bounded(path, MAX_BYTES))
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, a huge number, or deep nesting
        raise BadInput(f"{quote(str(path), 200)} {not_toml}: {quote(str(error), 200)[1:-1]}") from None
