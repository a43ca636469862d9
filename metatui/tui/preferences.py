"""Saved preferences of the app: theme, pane sizes, the folded form, and whether the tour was offered."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from metatui.config.toml import parse_text
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError, quote
from metatui.utils.files import read_bounded, write_atomically

LARGEST = 64 * 1024
"""Maximum size of the file in bytes."""


ALLOWED = {
    "theme": "the name of a theme",
    "fold_form": "true or false",
    "tour_offered": "true or false",
    "panes": "a table",
    "panes.left": "a number of columns from 1 to 1,000",
    "panes.journal": "a number of rows from 1 to 1,000",
    "panes.curves": "a percentage from 1 to 99",
}
"""The allowed values of each key."""


class _Table(BaseModel):
    # Keys of other versions are ignored, and kept when the file is written.
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class PaneSizes(_Table):
    """Sizes of panes. None selects the usual size for the terminal."""

    left: int | None = Field(default=None, ge=1, le=1000)
    """Columns of the left column."""
    journal: int | None = Field(default=None, ge=1, le=1000)
    """Rows of the journal."""
    curves: int | None = Field(default=None, ge=1, le=99)
    """Percentage of the space of curves and adaptation that the curves take."""


class Preferences(_Table):
    theme: str | None = None
    fold_form: bool = True
    """Whether the form is folded while a run is shown."""
    panes: PaneSizes = PaneSizes()
    tour_offered: bool = False
    """Whether the line of the first start was shown."""


def load() -> Preferences:
    """Return the saved preferences. Raises BadInput if the file cannot be used."""
    try:
        return Preferences.model_validate(_read())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BadInput(
            f"{quote(str(paths.app_state_file()), 200)} is ignored: {key} is {quote(first['input'])}, but must be "
            f"{ALLOWED[key]}"
        ) from None


def save(preferences: Preferences) -> None:
    """Save the preferences that differ from the defaults. Raises MetatuiError if they cannot be saved."""
    import tomlkit  # imported late, because it takes 60 ms and reading does not need it

    if preferences.theme is not None and not preferences.theme.isprintable():
        raise MetatuiError(f"{quote(preferences.theme)} is not the name of a theme")
    try:
        others = {key: value for key, value in _read().items() if key not in Preferences.model_fields}
    except BadInput:
        others = {}  # the file is damaged
    own = preferences.model_dump(exclude_defaults=True, exclude_none=True)
    write_atomically(paths.app_state_file(), tomlkit.dumps(others | own).encode())


def _read() -> dict[str, Any]:
    """Return the content of the file; empty without a file. Raises BadInput if it is not TOML."""
    path = paths.app_state_file()
    if not os.path.lexists(path):
        return {}
    try:
        return parse_text(read_bounded(path, LARGEST))
    except (ValueError, RecursionError):  # not TOML, not UTF-8, a huge number, or deep nesting
        raise BadInput(f"{quote(str(path), 200)} is not a TOML file and is ignored") from None
