"""The version of the files that metatui writes: a newer one says so, and is not taken for a broken one."""

from __future__ import annotations

from typing import Any

from metatui.utils.errors import BadInput, quote

FORMAT = 1
"""Of presets, settings.toml, journals with their metrics, and evaluations. A file that does not say has the first."""


def check_format(value: Any, name: str) -> None:
    """Raises BadInput where the file `name`, as it is to be shown, says that it has another format than ours."""
    if type(value) is not int or value < 1:
        raise BadInput(f"{name}: format is {quote(value)}, but must be a whole number from 1 to {FORMAT}")
    if value > FORMAT:
        raise BadInput(
            f"{name} was written by a newer metatui (format {value}, and this one reads up to {FORMAT}): update metatui"
        )
