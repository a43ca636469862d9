"""Settings as text: the fields derived from `Settings`, parsing, and error messages."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from itertools import groupby
from typing import Any

from pydantic import ValidationError

from metatui.config.constraints import violations
from metatui.config.declarations import Scalar, SettingField
from metatui.config.plugins import exclude_conflicts
from metatui.config.registry import ALGORITHMS, all_components, fields_of, loaded_components
from metatui.config.settings import Settings, common_fields
from metatui.utils.errors import Problem, SettingsError, did_you_mean, quote


def text_of(value: Scalar) -> str:
    """Format a setting's value as the user would type it. `SettingField.read` parses it back to the same value."""
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


class _Fields(Mapping[str, SettingField]):
    """All settings, keyed by path, including those of plugins that are loaded later.

    The settings are ordered as in `Settings`. The options of data sets, models and algorithms follow the settings of
    the task, the model and the algorithm, respectively.
    """

    def __init__(self) -> None:
        self._fields: dict[str, SettingField] = {}
        self._components: tuple[object, ...] | None = None

    def __getitem__(self, path: str) -> SettingField:
        return self._current()[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._current())

    def __len__(self) -> int:
        return len(self._current())

    def items(self) -> ItemsView[str, SettingField]:  # without a lookup for each item
        return self._current().items()

    def values(self) -> ValuesView[SettingField]:
        return self._current().values()

    def _current(self) -> dict[str, SettingField]:
        if loaded_components() != self._components:
            exclude_conflicts()
            self._fields = {field.path: field for field in _ordered_fields()}
            self._components = loaded_components()
        return self._fields


def _ordered_fields() -> Iterator[SettingField]:
    for group, fields in groupby(common_fields(), key=lambda field: field.group):
        yield from fields
        for component in all_components():
            if component.registry.setting.startswith(f"{group}."):
                yield from fields_of(component)


FIELDS: Mapping[str, SettingField] = _Fields()


def parse(groups: Mapping[str, Any]) -> Settings:
    """Build settings from nested mappings, such as `{"task": {"shots": 5}}`.

    Raises:
        SettingsError: if a setting is unknown, of the wrong type, out of range, or incompatible with others. The
            error lists one problem for each such setting.
    """
    try:
        settings = Settings.model_validate(dict(groups))
    except ValidationError as error:
        raise SettingsError(_problems(error)) from None
    if problems := violations(settings):
        raise SettingsError(problems)
    return settings


def change(settings: Settings, changes: Mapping[str, Scalar]) -> Settings:
    """Return a copy of `settings` with new values at the paths in `changes`.

    Raises:
        SettingsError: if a setting is unknown, or if its value is not allowed.
    """
    groups: dict[str, dict[str, Any]] = {name: dict(group) for name, group in settings}
    for path, value in changes.items():
        find_field(path)
        group, name = path.split(".")
        groups.setdefault(group, {})[name] = value
    return parse(groups)


def differences(settings: Settings, other: Settings) -> list[str]:
    """Return the paths of settings that differ between `settings` and `other` and have an effect in either of them."""
    return [
        path
        for path, field in FIELDS.items()
        if settings.value(path) != other.value(path) and (field.is_relevant(settings) or field.is_relevant(other))
    ]


def without_effect(settings: Settings, paths: Iterable[str]) -> list[str]:
    """Return sentences, without full stops, about the settings in `paths` that have no effect in `settings`.

    Settings that have no effect for the same reason are named in the same sentence.
    """
    reasons: dict[str, list[str]] = {}
    for path in paths:
        if unmet := FIELDS[path].unmet(settings):
            reasons.setdefault(format_assignments(unmet), []).append(path)
    return [
        f"{', '.join(same)} {'has' if len(same) == 1 else 'have'} no effect with {reason}"
        for reason, same in reasons.items()
    ]


def fixed_reason(path: str, settings: Settings) -> str | None:
    """Return the reason why a run with `settings` cannot change its live setting `path`; None if it can."""
    if not FIELDS[path].is_relevant(settings):
        return "it has no effect with these settings"
    return ALGORITHMS[settings.algorithm.name].fixed(settings).get(path)


def find_field(path: str) -> SettingField:
    """Return the field of a setting.

    Raises:
        SettingsError: if there is no such setting. The message suggests the nearest name.
    """
    if path in FIELDS:
        return FIELDS[path]
    raise SettingsError([_unknown(path)])


def parse_assignment(text: str) -> tuple[str, Scalar]:
    """Parse `group.key=value`, the argument of `--set`, into a path and a value.

    Raises:
        SettingsError: if there is no such setting, or the value has the wrong type.
    """
    path, equals, word = text.partition("=")
    if not equals:
        sentence = f"--set is {quote(text)}, but must be group.key=value, such as training.seed=1"
        raise SettingsError([Problem(path, sentence)])
    field = find_field(path.strip())
    return field.path, field.read(word)


def format_assignments(values: Mapping[str, Scalar]) -> str:
    """Format settings as the arguments of `--set`, comma-separated: `algorithm.inner_lr=0.01, model.hidden=40,40`."""
    return ", ".join(f"{path}={text_of(value).replace(', ', ',')}" for path, value in values.items())


def format_with_labels(values: Mapping[str, Scalar]) -> str:
    """Format settings with their labels in the app's form: `Inner learning rate 0.01, Hidden layers 40, 40`."""
    return ", ".join(f"{FIELDS[path].label} {text_of(value)}" for path, value in values.items())


def label_in_sentence(path: str) -> str:
    """Return the label of a setting as it is written within a sentence: `inner steps`, `CG steps`."""
    label = FIELDS[path].label
    return label if label[:2].isupper() else label[0].lower() + label[1:]


def _unknown(path: str) -> Problem:
    same_key = [name for name in FIELDS if name.split(".")[1] == path.split(".")[-1]]
    groups = f"the groups are {', '.join(Settings.model_fields)}, and the groups of plugins"
    if "." not in path:  # a table
        groups += " (in TOML files, also [preset] and [[changes]])"
    # Similar groups, such as `algorithms.inner_lr`, come before other groups with the same key.
    near = did_you_mean(path, same_key, "", cutoff=0.8)
    hint = near or (f"did you mean {' or '.join(same_key[:3])}?" if same_key else did_you_mean(path, FIELDS, groups))
    return Problem(path, f"{quote(path)} is not a setting: {hint}")


def _problems(error: ValidationError) -> list[Problem]:
    problems: dict[str, Problem] = {}
    items = error.errors()
    missing = [item["input"] for item in items if item["type"] == "value_error"]  # names of components
    for item in items:
        path = ".".join(str(part) for part in item["loc"][:2])
        if path in missing:
            continue
        if item["type"] == "extra_forbidden":
            problems[path] = _unknown(path)
        elif item["type"] == "value_error":
            problems[path] = Problem(path, f"{path} is {quote(item['input'])}, but {item['ctx']['error']}")
        elif path in FIELDS:
            value = item["input"] if len(item["loc"]) <= 2 else f"an item {quote(item['input'])}"
            problems[path] = FIELDS[path].problem(value)
        else:
            problems[path] = Problem(path, f"{path} is {quote(item['input'])}, but must be a table of settings")
    return list(problems.values())
