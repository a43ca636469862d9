"""Tests of loading and saving the preferences of the app."""

from __future__ import annotations

import pytest

from metatui.tui.preferences import PaneSizes, Preferences, load, save
from metatui.utils import paths
from metatui.utils.errors import BadInput


def write(text: str) -> None:
    paths.app_state_file().parent.mkdir(parents=True, exist_ok=True)
    paths.app_state_file().write_text(text)


def test_saved_preferences_are_loaded() -> None:
    paths.app_state_file().unlink(missing_ok=True)
    assert load() == Preferences()
    preferences = Preferences(theme="textual-light", fold_form=False, panes=PaneSizes(left=50, curves=60))
    save(preferences)
    assert load() == preferences


def test_saving_keeps_unknown_keys() -> None:
    write('later = 1\ntheme = "nord"\n[keys]\nstart = "f5"\n[panes]\nleft = 40\nright = 3\n')
    save(load().model_copy(update={"fold_form": False}))
    text = paths.app_state_file().read_text()
    assert "later = 1" in text
    assert 'start = "f5"' in text
    assert "right = 3" in text
    assert load() == Preferences(theme="nord", fold_form=False, panes=PaneSizes(left=40))
    save(load().model_copy(update={"panes": PaneSizes()}))
    assert "right = 3" in paths.app_state_file().read_text()
    assert load().panes == PaneSizes()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("theme = 3", "theme is 3, but must be the name of a theme"),
        ('fold_form = "no"', "fold_form is 'no', but must be true or false"),
        ("panes = 3", "panes is 3, but must be a table"),
        ("[panes]\nleft = 4.5", "panes.left is 4.5, but must be a number of columns from 1 to 1,000"),
        ("[panes]\njournal = 0", "panes.journal is 0, but must be a number of rows from 1 to 1,000"),
        ("[panes]\ncurves = 100", "panes.curves is 100, but must be a percentage from 1 to 99"),
        ("fold_form = true\ntheme = \n", r"is ignored, because it is not a TOML file: .*line 2"),
    ],
)
def test_wrong_preferences_are_refused_with_a_sentence(text: str, problem: str) -> None:
    write(text)
    with pytest.raises(BadInput, match=problem):
        load()


@pytest.mark.parametrize("text", ["fold_form = false\n[[[broken", "fold_form = false\ntheme = 3\nlater = 1"])
def test_saving_keeps_a_file_that_is_ignored_under_another_name(text: str) -> None:
    write(text)
    path = paths.app_state_file()
    kept = save(Preferences(theme="nord"))
    assert kept == path.with_name("app.toml.bad")
    assert kept.read_text() == text
    assert load() == Preferences(theme="nord")
    assert ("later = 1" in path.read_text()) == ("later" in text)
    assert save(Preferences()) is None
