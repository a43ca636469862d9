"""Tests of the names of the training and the validation curve."""

from __future__ import annotations

import pytest

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.tui.screens.main.curves import curve_names


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ("training after 1 step", "validation after 10 steps")),
        (
            {"algorithm.inner_steps": 5, "evaluation.inner_steps": 1},
            ("training after 5 steps", "validation after 1 step"),
        ),
        ({"task.source": "glyphs", "algorithm.name": "protonet"}, ("training", "validation")),
    ],
)
def test_curves_are_named_after_their_inner_steps(changes: dict[str, str | int], names: tuple[str, str]) -> None:
    assert curve_names(change(Settings(), changes)) == names
