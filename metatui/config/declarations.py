"""Declaration of settings: their groups, conditions and descriptions."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Scalar = bool | int | float | str | tuple[int, ...]
"""Value of a setting."""

When = Mapping[str, Set[str]]
"""Conditions under which a setting applies: for the path of each setting it depends on, the values that enable it."""


class Group(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def setting(
    default: Any,
    label: str,
    help: str,  # noqa: A002 - the word that the form and the command line use
    *,
    unit: str = "",
    when: When | None = None,
    live: bool = False,
    main: bool = False,
    allowed: str = "",
    path: bool = False,
    **limits: Any,
) -> Any:
    """Declare one setting.

    Args:
        when: conditions under which the setting has an effect.
        live: whether the setting can change during a run.
        main: whether the form shows the setting outside the collapsed groups.
        allowed: description of the allowed values, for settings of type text.
        path: whether the value is a path on disk.
        limits: limits of pydantic, such as `ge` and `le`.
    """
    extra: dict[str, Any] = {
        "label": label, "unit": unit, "when": when or {}, "live": live, "main": main, "allowed": allowed, "path": path,
    }  # fmt: skip
    return Field(default, description=help, json_schema_extra=extra, **limits)
