"""Saved preferences of the app: the theme."""

from __future__ import annotations

import os

from metatui.config.toml import parse_text
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError, quote
from metatui.utils.files import read_bounded, write_atomically

LARGEST = 64 * 1024
"""Maximum size of the file in bytes."""


def load_theme() -> str | None:
    """Return the saved theme, or None. Raises BadInput if the file cannot be read."""
    path = paths.app_state_file()
    if not os.path.lexists(path):
        return None
    try:
        theme = parse_text(read_bounded(path, LARGEST)).get("theme")
    except (ValueError, RecursionError):  # not TOML, not UTF-8, a huge number, or deep nesting
        raise BadInput(f"{quote(str(path), 200)} is not a TOML file and is ignored") from None
    if theme is not None and not isinstance(theme, str):
        raise BadInput(f"{quote(str(path), 200)}: theme is {quote(theme)}, but must be the name of a theme")
    return theme


def save_theme(theme: str) -> None:
    """Save the theme. Raises MetatuiError if it cannot be saved."""
    if '"' in theme or "\\" in theme or not theme.isprintable():
        raise MetatuiError(f"{quote(theme)} is not the name of a theme")
    write_atomically(paths.app_state_file(), f'theme = "{theme}"\n'.encode())
