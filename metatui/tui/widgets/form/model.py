"""Model of the form, independent of widgets. It converts entered text to settings, problems and relevant fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metatui.config.declarations import Scalar, SettingField
from metatui.config.fields import FIELDS, parse, text_of
from metatui.config.settings import Settings
from metatui.utils.errors import Problem, SettingsError

Texts = Mapping[str, str]
"""Text of each field, keyed by the path of its setting."""


def texts_of(settings: Settings) -> dict[str, str]:
    """Return the text of every field for `settings`."""
    return {path: text_of(settings.value(path)) for path in FIELDS}


@dataclass(frozen=True)
class Assessment:
    """Result of validating the text in the fields of a form."""

    settings: Settings | None
    """The settings in the form, or None if a field is invalid."""
    problems: Mapping[str, str]
    """Description of the problem in each invalid field, keyed by path. Irrelevant fields are never invalid."""
    visible: frozenset[str]
    """Paths of the settings that are relevant for the options currently chosen in the form."""
    values: Mapping[str, Scalar]
    """Values of all settings without a problem, keyed by path. Settings that are not visible have their defaults."""


def assess(texts: Texts) -> Assessment:
    """Validate the form. A setting that is not relevant gets its default, and its text is ignored."""
    values: dict[str, Scalar] = {}
    wrong: dict[str, str] = {}
    for path, setting in FIELDS.items():
        try:
            values[path] = setting.read(texts[path])
        except SettingsError:
            wrong[path] = _allowed(setting)
    settings, refused = _nearest_settings(values)
    wrong = {**refused, **wrong}
    visible = frozenset(path for path, setting in FIELDS.items() if setting.is_relevant(settings))
    problems = {path: sentence for path, sentence in wrong.items() if path in visible}
    values = {
        path: values[path] if path in visible else setting.default
        for path, setting in FIELDS.items()
        if path not in problems
    }
    return Assessment(None if problems else settings, problems, visible, values)


def _allowed(setting: SettingField) -> str:
    return f"Must be {setting.allowed}."


def _nearest_settings(values: Mapping[str, Scalar]) -> tuple[Settings, dict[str, str]]:
    """Drop values until the rest are valid settings. Return the settings, and the reason for each dropped value."""
    kept, wrong = dict(values), dict[str, str]()
    while True:
        try:
            return parse(_nested(kept)), wrong
        except SettingsError as error:
            for problem in error.problems:
                wrong.setdefault(problem.field, _sentence(problem, kept))
            dropped = {problem.field for problem in error.problems} & kept.keys()
            if not dropped:
                # A default conflicts with a choice. Keep only the choices, which are always valid.
                choices = {path: value for path, value in kept.items() if FIELDS[path].kind == "choice"}
                return Settings.model_validate(_nested(choices)), wrong
            kept = {path: value for path, value in kept.items() if path not in dropped}


def _sentence(problem: Problem, values: Mapping[str, Scalar]) -> str:
    setting, value = FIELDS[problem.field], values.get(problem.field)
    return _allowed(setting) if problem == setting.problem(value) else f"{problem.sentence}."


def _nested(values: Mapping[str, Scalar]) -> dict[str, dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        group, name = path.split(".")
        groups.setdefault(group, {})[name] = value
    return groups
