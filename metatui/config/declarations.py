"""Declaration of settings: their groups, conditions and descriptions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from metatui.utils.errors import BadInput, Problem, SettingsError, did_you_mean, quote
from metatui.utils.paths import absolute

if TYPE_CHECKING:
    from metatui.config.settings import Settings

Scalar = bool | int | float | str | tuple[int, ...]
"""Type of the value of a setting."""

When = Mapping[str, Set[str]]
"""Conditions under which a setting has an effect: paths of other settings, and the values that each may have."""


Ints = Annotated[tuple[int, ...], Field(strict=False)]
"""Type of a setting whose value is a list of integers."""

FieldKind = Literal["int", "float", "bool", "choice", "text", "path", "ints"]

NOUNS: Final[Mapping[FieldKind, str]] = {"int": "a whole number", "float": "a number"}

GROUPED: Final = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?")
"""Regular expression for a number with thousands separators, such as `12,500.5`. A number that begins with `0,` does
not match, because in many languages `0,005` is the decimal fraction 0.005."""


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
    choices: Callable[[], tuple[str, ...]] | None = None,
    **limits: Any,
) -> Any:
    """Declare one setting of type bool, int, float, str, `Ints`, or a Literal of strings.

    Args:
        when: conditions under which the setting has an effect.
        live: whether the setting, which must be a number, can change during a run.
        main: whether the form shows the setting outside the collapsed groups.
        allowed: description of the allowed values, for settings of type str and `Ints`.
        path: whether the value is a path on disk.
        choices: the allowed strings, if they depend on plugins.
        limits: limits that pydantic checks, such as `ge` and `le`.
    """
    extra: dict[str, Any] = {
        "label": label, "unit": unit, "when": when or {}, "live": live, "main": main, "allowed": allowed, "path": path,
        "choices": choices,
    }  # fmt: skip
    return Field(default, description=help, json_schema_extra=extra, **limits)


@dataclass(frozen=True)
class SettingField:
    """Description of one setting, derived from its declaration with `setting`."""

    path: str
    kind: FieldKind
    """The type of the value, which determines how its text is parsed."""
    default: Scalar
    label: str
    help: str
    unit: str
    choices: tuple[str, ...]
    allowed: str
    """Description of the allowed values, worded to follow "must be"."""
    when: When
    live: bool
    main: bool

    @property
    def group(self) -> str:
        return self.path.split(".")[0]

    @property
    def limits(self) -> str:
        """Limits of a numeric setting as text, such as `from 1 to 1,000`; an empty string if there are no limits."""
        return self.allowed.removeprefix(NOUNS[self.kind]).strip() if self.kind in NOUNS else ""

    def read(self, text: str) -> Scalar:
        """Parse the text of a value that the user has typed. A number may have thousands separators: `12,500.5`.

        Raises:
            SettingsError: if the text is not a value of this type.
        """
        word = text.strip()
        number = word.replace(",", "") if GROUPED.fullmatch(word) else word
        try:
            match self.kind:
                case "int":
                    return int(number)
                case "float":
                    return float(number)
                case "bool":
                    return {"true": True, "false": False}[word.lower()]
                case "ints":
                    return tuple(int(part) for part in word.strip("[]()").split(","))
                case "path":
                    # Absolute, because a stored setting must not depend on the current folder.
                    return str(absolute(word)) if word else ""
                case _:
                    return word
        except (ValueError, KeyError, BadInput):
            raise SettingsError([self.problem(text)]) from None

    def problem(self, value: object) -> Problem:
        """Return a `Problem` that states that `value` is not allowed, and which values are allowed."""
        sentence = f"{self.path} is {quote(value)}, but must be {self.allowed}"
        nearest = did_you_mean(value, self.choices, otherwise="") if isinstance(value, str) else ""
        return Problem(self.path, ": ".join(filter(None, (sentence, nearest))))

    def is_relevant(self, settings: Settings) -> bool:
        """Return whether this setting has an effect, given the values of the other settings in `settings`."""
        return not self.unmet(settings)

    def unmet(self, settings: Settings) -> dict[str, Scalar]:
        """Return the settings, with their values, that prevent this setting from having an effect."""
        others = {path: settings.effective(path) for path in self.when}
        return {path: value for path, value in others.items() if value not in self.when[path]}


def group_fields(name: str, group: type[Group], when: When | None = None) -> Iterator[SettingField]:
    """Yield the fields of the settings in `group`.

    Args:
        name: name of the group.
        when: conditions for all settings of the group.

    Raises:
        BadInput: if a setting is not declared with `setting`, or its type is not supported.
    """
    for key, info in group.model_fields.items():
        yield _field(f"{name}.{key}", info, when or {})


def _field(path: str, info: FieldInfo, when: When) -> SettingField:
    extra = info.json_schema_extra
    if not isinstance(extra, dict) or "label" not in extra:
        raise BadInput(f"the setting {path} is not declared with metatui.config.declarations.setting")
    details: dict[str, Any] = extra
    choices: tuple[str, ...] = ()
    kind: FieldKind
    allowed = details["allowed"]
    if details["choices"] or get_origin(info.annotation) is Literal:
        choices = details["choices"]() if details["choices"] else get_args(info.annotation)
        kind, allowed = "choice", f"one of {', '.join(choices)}{allowed}"
    elif info.annotation is bool:
        kind, allowed = "bool", "true or false"
    elif info.annotation is str:
        kind, allowed = "path" if details["path"] else "text", allowed or "text"
    elif info.annotation is int or info.annotation is float:
        kind = "int" if info.annotation is int else "float"
        allowed = NOUNS[kind] + _range(info)
    elif get_origin(info.annotation) is tuple:
        kind, allowed = "ints", allowed or "whole numbers, comma-separated"
    else:
        raise BadInput(f"the setting {path} must be a bool, int, float, str, Ints or Literal of strings")
    if details["live"] and kind not in ("int", "float"):
        raise BadInput(f"the setting {path} is live, but only numbers can change during a run")
    return SettingField(
        path=path,
        kind=kind,
        default=info.default,
        help=info.description or "",
        choices=choices,
        allowed=allowed,
        when={**when, **details["when"]},
        **{key: details[key] for key in ("label", "unit", "live", "main")},
    )


def _range(info: FieldInfo) -> str:
    """Describe the limits of a numeric setting, such as ` from 1 to 100`; an empty string if there are no limits."""
    limits = {
        key: f"{getattr(item, key):,.10g}"
        for item in info.metadata
        for key in ("ge", "gt", "le", "lt")
        if getattr(item, key, None) is not None
    }
    match limits:
        case {"ge": low, "le": high}:
            return f" from {low} to {high}"
        case {"gt": low, "le": high}:
            return f" above {low} and up to {high}"
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    bounds = [f"{words[key]} {limit}" for key, limit in limits.items()]
    return f" {' and '.join(bounds)}" if bounds else ""
