"""What the form's texts amount to: settings, what is wrong with each field, and which fields matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metatui.config.fields import FIELDS, SettingField, parse, text_of
from metatui.config.settings import Scalar, Settings
from metatui.utils.errors import Problem, SettingsError

Texts = Mapping[str, str]
"""What stands in each field, by path."""


def texts_of(settings: Settings) -> dict[str, str]:
    """Every field's text for `settings`."""
    return {path: text_of(settings.value(path)) for path in FIELDS}


@dataclass(frozen=True)
class Assessment:
    """The outcome of reading the whole form."""

    settings: Settings | None
    """None while anything is wrong."""
    problems: Mapping[str, str]
    """A sentence for each field that is wrong; only fields that matter can be."""
    visible: frozenset[str]
    """The fields that matter under the present choices."""


def assess(texts: Texts) -> Assessment:
    """Read the form. A field that does not matter is never wrong: what stands in it gives way to the default."""
    values: dict[str, Scalar] = {}
    wrong: dict[str, str] = {}
    for path, knob in FIELDS.items():
        try:
            values[path] = knob.read(texts[path])
        except SettingsError:
            wrong[path] = _must(knob)
    settings, found = _settle(values)
    wrong |= {path: sentence for path, sentence in found.items() if path not in wrong}
    visible = frozenset(path for path, knob in FIELDS.items() if knob.is_relevant(settings))
    problems = {path: sentence for path, sentence in wrong.items() if path in visible}
    return Assessment(None if problems else settings, problems, visible)


def _must(knob: SettingField) -> str:
    return f"Must be {knob.allowed}."


def _settle(values: Mapping[str, Scalar]) -> tuple[Settings, dict[str, str]]:
    """The settings that `values` come closest to, and what was wrong, field by field, until the rest was right."""
    left, wrong = dict(values), dict[str, str]()
    while True:
        try:
            return parse(_nested(left)), wrong
        except SettingsError as error:
            for problem in error.problems:
                wrong.setdefault(problem.field, _said(problem, left))
            wrong_now = {problem.field for problem in error.problems} & left.keys()
            if not wrong_now:
                # What is wrong is a default beside a choice: keep the choices, which are never wrong alone.
                return Settings.model_validate(_nested(_choices(left))), wrong
            left = {path: value for path, value in left.items() if path not in wrong_now}


def _said(problem: Problem, values: Mapping[str, Scalar]) -> str:
    knob, value = FIELDS[problem.field], values.get(problem.field)
    return _must(knob) if problem == knob.problem(value) else f"{problem.sentence}."


def _choices(values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {path: value for path, value in values.items() if FIELDS[path].kind == "choice"}


def _nested(values: Mapping[str, Scalar]) -> dict[str, dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        group, name = path.split(".")
        groups.setdefault(group, {})[name] = value
    return groups
