"""Tests of the usual values that algorithms declare for settings."""

from __future__ import annotations

import pytest

from metatui.config import presets
from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, change
from metatui.config.registry import ALGORITHMS, Kind
from metatui.config.settings import Settings
from metatui.config.usual import deviations_from_usual, usual_values

SOURCES: dict[Kind, str] = {"regression": "sinusoid", "classification": "glyphs"}
DECLARED = [(algorithm.name, kind) for algorithm in ALGORITHMS.components() for kind in algorithm.usual]


def selected(name: str, kind: Kind) -> tuple[Settings, dict[str, Scalar]]:
    settings = change(Settings(), {"algorithm.name": name, "task.source": SOURCES[kind]})
    return settings, usual_values(settings)


@pytest.mark.parametrize(("name", "kind"), DECLARED)
def test_usual_values_are_valid_and_have_an_effect(name: str, kind: Kind) -> None:
    settings, values = selected(name, kind)
    usual = change(settings, values)
    assert all(FIELDS[path].is_relevant(usual) for path in values)
    assert deviations_from_usual(usual) == {}
    assert deviations_from_usual(settings) == {
        path: value for path, value in values.items() if value != settings.value(path)
    }


def test_usual_values_are_those_of_a_bundled_preset() -> None:
    bundled = [preset.settings for preset in presets.bundled()]
    for name, kind in DECLARED:
        if name == "pretrained":  # it has no preset
            continue
        values = selected(name, kind)[1]
        of_kind = [s for s in bundled if s.algorithm.name == name and s.is_classification == (kind == "classification")]
        assert any(values == {path: settings.value(path) for path in values} for settings in of_kind), (name, kind)


def test_every_algorithm_with_a_preset_declares_its_usual_values() -> None:
    for preset in presets.bundled():
        assert usual_values(preset.settings), preset.name


def test_algorithm_without_usual_values() -> None:
    assert usual_values(change(Settings(), {"algorithm.name": "scratch"})) == {}
