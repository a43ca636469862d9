"""Settings as text: each knob's name, kind and limits, read from words and tables, with errors a person can use."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, cast, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from metatui.config.constraints import impossible
from metatui.config.settings import Group, Scalar, Settings, When
from metatui.utils.errors import BadInput, Problem, SettingsError, quote
from metatui.utils.paths import expanded

KnobKind = Literal["int", "float", "bool", "choice", "text", "path", "ints"]


def text_of(value: Scalar) -> str:
    """A setting's value as it is typed: `read` of its knob gives the same value back."""
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
    """How one setting is shown and read. `kind` is what its text means."""

    path: str
    kind: KnobKind
    default: Scalar
    label: str
    help: str
    unit: str
    choices: tuple[str, ...]
    allowed: str
    when: When
    live: bool
    main: bool

    @property
    def group(self) -> str:
        return self.path.split(".")[0]

    def read(self, text: str) -> Scalar:
        """The value that `text` stands for. Raises SettingsError, which says what is allowed."""
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
                    # What is typed is meant from here; what is kept has to mean the same anywhere.
                    return str(expanded(word).absolute()) if word else ""
                case _:
                    return word
        except (ValueError, KeyError, OSError, BadInput):
            raise SettingsError([self.problem(text)]) from None

    def problem(self, value: object) -> Problem:
        return Problem(self.path, f"{self.path} is {quote(value)}, but must be {self.allowed}")

    def is_relevant(self, settings: Settings) -> bool:
        """Whether this setting has any effect in `settings`."""
        return all(settings.value(path) in choices for path, choices in self.when.items())


def _limits(info: FieldInfo) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in info.metadata:
        for key in ("ge", "gt", "le", "lt"):
            if getattr(item, key, None) is not None:
                found[key] = getattr(item, key)
    return found


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.10g}"


def _knob(group: str, name: str, info: FieldInfo) -> SettingField:
    extra = info.json_schema_extra
    assert isinstance(extra, dict)
    annotation = info.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        raise TypeError(f"{group}.{name}: a setting has one type")
    choices: tuple[str, ...] = ()
    kind: KnobKind
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        kind, allowed = "choice", "one of " + ", ".join(choices)
    elif annotation is bool:
        kind, allowed = "bool", "true or false"
    elif annotation in (int, float):
        limits = _limits(info)
        kind = "int" if annotation is int else "float"
        noun = "a whole number" if annotation is int else "a number"
        low = f"above {_number(limits['gt'])}" if "gt" in limits else f"from {_number(limits['ge'])}"
        high = f"up to {_number(limits['le'])}" if "gt" in limits else f"to {_number(limits['le'])}"
        allowed = f"{noun} {low} {high}"
    elif annotation is str:
        kind, allowed = "path" if extra["path"] else "text", str(extra["allowed"])
    else:
        kind, allowed = "ints", "one to eight whole numbers from 1 to 4,096, comma-separated"
    return SettingField(
        path=f"{group}.{name}", kind=kind, default=info.default, label=str(extra["label"]),
        help=info.description or "", unit=str(extra["unit"]), choices=choices, allowed=allowed,
        when=cast(When, extra["when"]), live=bool(extra["live"]), main=bool(extra["main"]),
    )  # fmt: skip


def _knobs() -> dict[str, SettingField]:
    found = {}
    for group, info in Settings.model_fields.items():
        assert isinstance(info.annotation, type)
        assert issubclass(info.annotation, Group)
        for name, field in info.annotation.model_fields.items():
            found[f"{group}.{name}"] = _knob(group, name, field)
    return found


FIELDS: Mapping[str, SettingField] = _knobs()
"""Every setting by its path, in the order of the groups above."""

GROUP_TITLES: Mapping[str, str] = {
    name: (info.annotation.__doc__ or "").strip().rstrip(".")
    for name, info in Settings.model_fields.items()
    if info.annotation is not None
}


def parse(groups: Mapping[str, Any]) -> Settings:
    """Settings from nested mappings (`{"task": {"shots": 5}}`).

    Raises:
        SettingsError: naming every field that is unknown, of the wrong type, out of range, or impossible together
            with others.
    """
    try:
        settings = Settings.model_validate(dict(groups))
    except ValidationError as error:
        raise SettingsError(_problems(error)) from None
    problems = impossible(settings)
    if problems:
        raise SettingsError(problems)
    return settings


def change(settings: Settings, changes: Mapping[str, Scalar]) -> Settings:
    """`settings` with the values of some paths changed. Raises SettingsError."""
    groups: dict[str, dict[str, Any]] = {name: dict(getattr(settings, name)) for name in Settings.model_fields}
    for path, value in changes.items():
        knob_of(path)
        group, name = path.split(".")
        groups[group][name] = value
    return parse(groups)


def knob_of(path: str) -> SettingField:
    """The knob called `path`. Raises SettingsError, with the nearest name there is."""
    if path in FIELDS:
        return FIELDS[path]
    raise SettingsError([_unknown(path)])


def assignment(text: str) -> tuple[str, Scalar]:
    """The path and value of `group.key=value`, as given to `--set`. Raises SettingsError."""
    path, equals, word = text.partition("=")
    if not equals:
        raise SettingsError(
            [Problem(path, f"--set is {quote(text)}, but must be group.key=value, such as training.seed=1")]
        )
    knob = knob_of(path.strip())
    return knob.path, knob.read(word)


def _unknown(path: str) -> Problem:
    near = difflib.get_close_matches(path, FIELDS, n=1, cutoff=0.6)
    if not near:
        near = [name for name in FIELDS if name.split(".")[1] == path.split(".")[-1]][:1]
    hint = f"did you mean {near[0]}?" if near else "groups are " + ", ".join(Settings.model_fields)
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
