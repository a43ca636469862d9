"""Tests of the settings form: its model, which needs no widgets, and the options of algorithms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult

from metatui.config.declarations import Group, setting
from metatui.config.fields import FIELDS, change, text_of
from metatui.config.registry import ALGORITHMS, Component, add_components
from metatui.config.settings import Settings
from metatui.tui.app import MetatuiApp
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.form.controls import Choice, Toggle
from metatui.tui.widgets.form.fields import FieldGroup, FormField, explained, field_id
from metatui.tui.widgets.form.form import SettingsForm
from metatui.tui.widgets.form.model import assess, texts_of
from metatui.tui.widgets.text_input import Entry
from tests.tui.fakes import saved_run
from tests.tui.sizes import SIZES


def test_settings_survive_the_form() -> None:
    settings = change(Settings(), {"model.hidden": (64, 64, 32), "algorithm.inner_lr": 1e-3, "task.source": "omniglot"})
    assert assess(texts_of(settings)).settings == settings


@pytest.mark.parametrize("path", list(FIELDS))
def test_defaults_can_be_read_back(path: str) -> None:
    assert FIELDS[path].read(text_of(FIELDS[path].default)) == FIELDS[path].default


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("task.shots", "1.5", "whole number"),
        ("task.shots", "1e3", "whole number"),
        ("task.shots", "", "whole number"),
        ("task.shots", "0", "from 1 to 1,000"),
        ("algorithm.inner_lr", "-1", "above 0"),
        ("algorithm.inner_lr", "nan", "above 0"),
        ("algorithm.inner_lr", "1e400", "above 0"),
        ("compute.device", "gpu", "cuda"),
        ("model.hidden", "40, x", "comma-separated"),
    ],
)
def test_invalid_fields_name_the_allowed_values(path: str, text: str, message: str) -> None:
    assessment = assess({**texts_of(Settings()), path: text})
    assert assessment.settings is None
    assert list(assessment.problems) == [path]
    assert message in assessment.problems[path]


def test_conflicts_are_reported_at_the_field_to_change() -> None:
    omniglot = texts_of(change(Settings(), {"task.source": "omniglot"}))
    assessment = assess({**omniglot, "task.shots": "15"})
    assert "20" in assessment.problems["task.shots"]
    assert assessment.settings is None


def test_irrelevant_fields_are_hidden_and_never_invalid() -> None:
    assessment = assess({**texts_of(Settings()), "task.ways": "nonsense", "algorithm.inner_batch": "99"})
    assert assessment.problems == {}
    assert assessment.settings is not None
    assert assessment.settings.task.ways == Settings().task.ways
    assert "task.ways" not in assessment.visible
    assert "task.ways" in assess({**texts_of(Settings()), "task.source": "glyphs"}).visible


def test_paths_are_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    texts = {**texts_of(Settings()), "task.source": "folder"}
    assert "path of a folder of images" in assess(texts).problems["task.folder"]
    for typed, path in (("images", tmp_path / "images"), ("~/images", "/home/someone/images"), ("/images", "/images")):
        assessment = assess({**texts, "task.folder": typed})
        assert assessment.problems == {}
        assert assessment.settings is not None
        assert assessment.settings.task.folder == str(path)
        assert {"task.folder", "task.image_size", "task.image_mode", "task.split_seed"} <= assessment.visible


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), st.text(max_size=12), max_size=6))
def test_hostile_texts(typed: dict[str, str]) -> None:
    texts = texts_of(Settings())
    texts |= {path: text for path, text in typed.items() if FIELDS[path].kind not in ("choice", "bool")}
    assessment = assess(texts)
    assert (assessment.settings is None) == bool(assessment.problems)
    assert set(assessment.problems) <= assessment.visible


async def test_the_whole_explanation_of_a_setting_is_visible(make: Callable[..., MetatuiApp]) -> None:
    app = make()
    async with app.run_test(size=SIZES[-1]) as pilot:
        await app.finish_start()
        hint, usual = app.form.hint, app.form.hint.size.height
        for path in sorted(FIELDS, key=lambda path: -len(explained(FIELDS[path])))[:3]:
            hint.update(explained(FIELDS[path]))
            for size in SIZES:
                await pilot.resize_terminal(*size)
                await pilot.pause()
                shown = " ".join(hint.render_line(y).text.strip() for y in range(hint.size.height))
                assert shown.split() == explained(FIELDS[path]).split()
                assert app.form.region.contains_region(hint.region)
        hint.update("A short text.")
        await pilot.pause()
        assert hint.size.height == usual


async def test_the_focused_field_is_visible_when_a_run_is_loaded(
    make: Callable[..., MetatuiApp], runs_dir: Path
) -> None:
    saved_run(runs_dir, Settings(), name="maml-sinusoid-20260101-000000", steps=1)
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.finish_start()
        (await app.form.reveal("compute.engine")).control.focus()
        await pilot.pause()
        fields = app.form.query_one("#fields")
        assert fields.scroll_y > 0
        await pilot.press("escape", "2")  # the form is scrolled, and hidden
        await app.workers.wait_for_complete()
        await pilot.press("l")
        await pilot.pause()
        first = app.form.query_one("#field-task-source", FormField).control
        assert app.focused is first
        assert fields.region.contains_region(first.region)


async def test_up_and_down_move_between_fields(make: Callable[..., MetatuiApp]) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.finish_start()
        await app.form.reveal("logging.tensorboard")
        await pilot.pause()
        controls = [widget for widget in app.screen.focus_chain if app.form in widget.ancestors]
        assert {type(control) for control in controls} == {Choice, Entry, FieldGroup, Toggle}
        assert app.focused is controls[0]
        texts, fields = app.form.texts, app.form.query_one("#fields")
        for control in (*controls[1:], controls[0]):
            await pilot.press("down")
            await pilot.pause()
            assert app.focused is control
            assert fields.region.contains_region(control.region)
        for control in reversed(controls):
            await pilot.press("up")
            await pilot.pause()
            assert app.focused is control
        assert app.form.texts == texts
        await pilot.press("enter", "down", "enter")  # the open list has the keys
        await pilot.pause()
        assert app.focused is controls[0]
        assert app.form.text("task.source") != texts["task.source"]


async def test_up_and_down_skip_locked_fields(make: Callable[..., MetatuiApp]) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.finish_start()
        app.form.show_run_settings(Settings())
        app.form.focus_first()
        await pilot.press("down", "5", "up", "end", "left", "home", "6")
        await pilot.pause()
        assert app.form.text("algorithm.inner_lr") == "6" + text_of(Settings().algorithm.inner_lr)
        assert app.form.text("algorithm.inner_steps") != text_of(Settings().algorithm.inner_steps)


class Options(Group):
    """Options of the example algorithm `Ridge`."""

    solver: Literal["cg", "dense"] = setting("cg", "Solver", "Solver of the linear system.", main=True)
    strength: float = setting(1.0, "Strength", "Strength of the penalty.", ge=0, le=10)


class Ridge(Component):
    """Example of an algorithm that declares options."""

    registry = ALGORITHMS
    name = "ridge"
    title = "Ridge regression"
    Options = Options


class FormApp(App[None]):
    """App that shows only the settings form."""

    def compose(self) -> ComposeResult:
        yield SettingsForm(Settings(), Symbols.ASCII)


def test_options_are_part_of_the_settings(registries: None) -> None:
    add_components([Ridge])
    texts = {**texts_of(Settings()), "algorithm.name": "ridge", "ridge.strength": "2"}
    assessment = assess(texts)
    assert assessment.settings == change(Settings(), {"algorithm.name": "ridge", "ridge.strength": 2.0})
    assert "ridge.strength" in assessment.visible
    assert texts_of(assessment.settings)["ridge.strength"] == "2"
    assert assess({**texts, "ridge.strength": "11"}).problems == {"ridge.strength": "Must be a number from 0 to 10."}
    other = assess({**texts, "algorithm.name": "maml", "ridge.strength": "11"})
    assert (other.settings, other.problems) == (Settings(), {})
    assert "ridge.strength" not in other.visible


async def test_problems_of_new_fields_are_shown_below_the_controls() -> None:
    async with FormApp().run_test(size=(80, 60)) as pilot:
        form = pilot.app.query_one(SettingsForm)
        form.enter("task.source", "table")
        await pilot.pause()
        for path in ("table.file", "table.targets"):
            field = form.query_one(f"#{field_id(path)}", FormField)
            note = field.query_one(".field-error")
            assert path in form.assessment.problems
            assert list(field.children) == [field.control, note]
            assert field.region.y == field.control.region.y == note.region.y - 1


async def test_fields_that_do_not_apply_never_appear() -> None:
    async with FormApp().run_test(size=(80, 100)) as pilot:
        form = pilot.app.query_one(SettingsForm)
        group = next(group for group in form.query(FieldGroup) if group.title == "Task details")
        await group.fill(texts_of(Settings()))
        created = {field for field in form.fields if field.setting in group.settings}
        assert len(created) == len(group.settings)
        assert not any(field.display for field in created)
        await form.unfold_groups()
        assert {field.setting.path for field in form.fields if field.display} <= form.assessment.visible


async def test_options_of_the_selected_algorithm_have_a_group(registries: None) -> None:
    add_components([Ridge])
    async with FormApp().run_test() as pilot:
        form = pilot.app.query_one(SettingsForm)
        assert "Ridge regression options" not in [group.title for group in form.query(FieldGroup)]
        form.load(change(Settings(), {"algorithm.name": "ridge"}))
        titles = [group.title for group in form.query(FieldGroup)]
        assert titles[titles.index("Algorithm details") + 1] == "Ridge regression options"
        group = next(group for group in form.query(FieldGroup) if group.title == "Ridge regression options")
        assert group.display
        await pilot.pause()
        field = await form.reveal("ridge.strength")
        assert field.display
        paths = [field.setting.path for field in form.fields if field.setting.main]
        assert paths == [path for path in FIELDS if path in paths], (
            "main options follow the settings of their component"
        )
        assert paths[paths.index("ridge.solver") - 1] == "algorithm.meta_batch"
        form.load(Settings())
        assert not group.display
        assert not any(field.display for field in form.fields if field.setting.group == "ridge")
        form.load(change(Settings(), {"algorithm.name": "ridge", "ridge.strength": 2.0}))
        assert form.query(FieldGroup).nodes.count(group) == 1
        assert field.text == "2"
