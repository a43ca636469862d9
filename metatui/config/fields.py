"""Settings as text: the fields derived from `Settings`, parsing, and error messages."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from metatui.config.constraints import violations
from metatui.config.declarations import Group, Scalar, When
from metatui.config.settings import Settings
from metatui.utils.errors import BadInput, Problem, SettingsError, quote
from metatui.utils.paths import expanded

FieldKind = Literal["int", "float", "bool", "choice", "text", "path", "ints"]


def text_of(value: Scalar) -> str:
    """Format a setting's value as the user types it. `SettingField.read` parses it back to the same value."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            short = f"{value:.10g}"
            return short if float(short) == value else repr(value)
        case tuple():
            return ", ".join(map(str, value))
        case _:
            return str(value)


@dataclass(frozen=True)
class SettingField:
    """Description of one setting. See `metatui.config.settings.setting`."""

    path: str
    kind: FieldKind
    """The type of the value, which determines how its text is parsed."""
    default: Scalar
    label: str
    help: str
    unit: str
    choices: tuple[str, ...]
    allowed: str
    """The allowed values, continuing a sentence after "must be"."""
    when: When
    live: bool
    main: bool

    @property
    def group(self) -> str:
        return self.path.split(".")[0]

    def read(self, text: str) -> Scalar:
        """Parse a value as the user types it.

        Raises:
            SettingsError: if the text is not a value of this type.
        """
        word = text.strip()
        try:
            match self.kind:
                case "int":
                    return int(word)
                case "float":
                    return float(word)
                case "bool":
                    return {"true": True, "false": False}[word.lower()]
                case "ints":
                    return tuple(int(part) for part in word.strip("[]()").split(","))
                case "path":
                    # Absolute, because a stored setting must not depend on the current folder.
                    return str(expanded(word).absolute()) if word else ""
                case _:
                    return word
        except (ValueError, KeyError, OSError, BadInput):
            raise SettingsError([self.problem(text)]) from None

    def problem(self, value: object) -> Problem:
        """Describe a value that is not allowed."""
        return Problem(self.path, f"{self.path} is {quote(value)}, but must be {self.allowed}")

    def is_relevant(self, settings: Settings) -> bool:
        """Return whether this setting has any effect in `settings`."""
        return all(
            (settings.model_name if path == "model.name" else settings.value(path)) in choices
            for path, choices in self.when.items()
        )


def _field(group: str, name: str, info: FieldInfo) -> SettingField:
    extra = cast(dict[str, Any], info.json_schema_extra)
    choices: tuple[str, ...] = ()
    kind: FieldKind
    if get_origin(info.annotation) is Literal:
        choices = get_args(info.annotation)
        kind, allowed = "choice", "one of " + ", ".join(choices)
    elif info.annotation is bool:
        kind, allowed = "bool", "true or false"
    elif info.annotation is str:
        kind, allowed = "path" if extra["path"] else "text", str(extra["allowed"])
    elif info.annotation is int or info.annotation is float:
        kind, noun = ("int", "a whole number") if info.annotation is int else ("float", "a number")
        limits = {key: getattr(item, key) for item in info.metadata for key in ("ge", "gt", "le") if hasattr(item, key)}
        ends = f"above {limits['gt']:,} up to" if "gt" in limits else f"from {limits['ge']:,} to"
        allowed = f"{noun} {ends} {limits['le']:,.10g}"
    else:
        kind, allowed = "ints", "one to eight whole numbers from 1 to 4,096, comma-separated"
    return SettingField(
        path=f"{group}.{name}",
        kind=kind,
        default=info.default,
        help=info.description or "",
        choices=choices,
        allowed=allowed,
        **{key: extra[key] for key in ("label", "unit", "when", "live", "main")},
    )


FIELDS: Mapping[str, SettingField] = {
    f"{group}.{name}": _field(group, name, info)
    for group, settings in Settings.model_fields.items()
    for name, info in cast(type[Group], settings.annotation).model_fields.items()
}
"""All settings by path, in the order of `Settings`."""


def parse(groups: Mapping[str, Any]) -> Settings:
    """Build settings from nested mappings, such as `{"task": {"shots": 5}}`.

    Raises:
        SettingsError: if a setting is unknown, of the wrong type, out of range, or incompatible with others. The
            error has one problem for each.
    """
    try:
        settings = Settings.model_validate(dict(groups))
    except ValidationError as error:
        raise SettingsError(_problems(error)) from None
    if problems := violations(settings):
        raise SettingsError(problems)
    return settings


def change(settings: Settings, changes: Mapping[str, Scalar]) -> Settings:
    """Return `settings` with the values of some paths changed.

    Raises:
        SettingsError: if a setting is unknown, or if its value is not allowed.
    """
    groups: dict[str, dict[str, Any]] = {name: dict(getattr(settings, name)) for name in Settings.model_fields}
    for path, value in changes.items():
        find_field(path)
        group, name = path.split(".")
        groups[group][name] = value
    return parse(groups)


def find_field(path: str) -> SettingField:
    """Return the field of a setting.

    Raises:
        SettingsError: if there is no such setting. The message suggests the nearest name.
    """
    if path in FIELDS:
        return FIELDS[path]
    raise SettingsError([_unknown(path)])


def assignment(text: str) -> tuple[str, Scalar]:
    """Parse `group.key=value`, the argument of `--set`, to a path and a value.

    Raises:
        SettingsError: if there is no such setting, or the value has the wrong type.
    """
    path, equals, word = text.partition("=")
    if not equals:
        sentence = f"--set is {quote(text)}, but must be group.key=value, such as training.seed=1"
        raise SettingsError([Problem(path, sentence)])
    field = find_field(path.strip())
    return field.path, field.read(word)


def _unknown(path: str) -> Problem:
    near = difflib.get_close_matches(path, FIELDS, n=1, cutoff=0.6)
    if not near:
        near = [name for name in FIELDS if name.split(".")[1] == path.split(".")[-1]][:1]
    hint = f"did you mean {near[0]}?" if near else "the groups are " + ", ".join(Settings.model_fields)
    return Problem(path, f"{quote(path)} is not a setting: {hint}")


def _problems(error: ValidationError) -> list[Problem]:
    problems: dict[str, Problem] = {}
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"][:2])
        if item["type"] == "extra_forbidden":
            problems[path] = _unknown(path)
        elif path in FIELDS:
            value = item["input"] if len(item["loc"]) <= 2 else f"an item {quote(item['input'])}"
            problems[path] = FIELDS[path].problem(value)
        else:
            problems[path] = Problem(path, f"{path} is {quote(item['input'])}, but must be a table of settings")
    return list(problems.values())
