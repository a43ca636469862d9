"""Version of the file formats, which distinguishes files of a newer version of metatui from damaged files."""

from __future__ import annotations

from typing import Any

from metatui.utils.errors import BadInput, quote

FORMAT = 1
"""Current version of the formats of presets, settings.toml, journals, metrics files and evaluations.

A file that does not state a version has version 1.
"""


def check_format(value: Any, name: str) -> None:
    """Raise BadInput if this version of metatui cannot read files with the format version `value`.

    Args:
        name: name of the file as shown in messages, in quotes.
    """
    if type(value) is not int or value < 1:
        raise BadInput(f"{name}: format is {quote(value)}, but must be a whole number from 1 to {FORMAT}")
    if value > FORMAT:
        raise BadInput(
            f"{name} was written by a newer version (format {value}, but this version reads up to {FORMAT}): "
            "update metatui"
        )
