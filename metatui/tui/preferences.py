"""What the app remembers between sessions: the theme."""

from __future__ import annotations

import os

from metatui.config.toml import parse_text
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError, quote
from metatui.utils.files import read_bounded, write_atomically

LARGEST = 64 * 1024


def load_theme() -> str | None:
    """The theme chosen last; None where none was. Raises BadInput where the file cannot be used."""
    path = paths.app_state_file()
    if not os.path.lexists(path):
        return None
    try:
        theme = parse_text(read_bounded(path, LARGEST)).get("theme")
    except (ValueError, RecursionError):  # not TOML, not UTF-8, a number or a nesting beyond all bounds
        raise BadInput(f"{quote(str(path), 200)} is not a TOML file and is ignored") from None
    if theme is not None and not isinstance(theme, str):
        raise BadInput(f"{quote(str(path), 200)}: theme is {quote(theme)}, but must be the name of a theme")
    return theme


def save_theme(theme: str) -> None:
    """Remember `theme`. A disk that cannot be written loses the memory, not the session: raises MetatuiError."""
    if '"' in theme or "\\" in theme or not theme.isprintable():
        raise MetatuiError(f"{quote(theme)} is not the name of a theme")
    write_atomically(paths.app_state_file(), f'theme = "{theme}"\n'.encode())
