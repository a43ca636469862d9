"""Tests of the status line, which shows where the settings in the form come from, and which run is displayed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from metatui.cli.app import app_arguments
from metatui.config.settings import Settings
from metatui.tui.app import MetatuiApp
from metatui.tui.launch import make_app
from metatui.tui.screens.main.status_line import FormState, RunState
from tests.tui.fakes import FakeSessions, saved_run


@pytest.mark.parametrize(
    ("state", "longest", "shortest"),
    [
        (FormState("preset quick"), "form: preset quick", "form: quick"),
        (FormState("run a", ("ways", "shots")), "form: run a, changed: ways, shots", "form: run a, 2 changed"),
        (
            FormState("preset p", ("a", "b", "c", "d", "e"), 1),
            "form: preset p, changed: a, b, c, d and 1 more (F1 lists all), 1 invalid",
            "form: p, 1 invalid",
        ),
    ],
)
def test_words_of_the_form(state: FormState, longest: str, shortest: str) -> None:
    words = state.words()
    assert (words[0], words[-1]) == (longest, shortest)


def test_invalid_fields_are_named_even_without_room_for_changes() -> None:
    *_, both, invalid = FormState("preset quick", ("a", "b", "c"), 1).words()
    assert (both, invalid) == ("form: quick, 3 changed, 1 invalid", "form: quick, 1 invalid")


async def test_line_follows_the_form_and_the_shown_run(make: Callable[..., MetatuiApp], runs_dir: Path) -> None:
    saved_run(runs_dir, Settings(), name="maml-sinusoid-20260101-000000", steps=3)
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        await app.create_tabs()

        def line() -> str:
            return app.work_tab.status.render_line(0).text.strip()

        assert line().startswith("form: initial settings  ")
        assert line().endswith("no run is shown")
        await pilot.press("3")
        await app.workers.wait_for_complete()
        await pilot.press("enter")
        await pilot.pause()
        name = line().split()[2]
        (await app.form.reveal("algorithm.inner_lr")).control.focus()
        await pilot.press("5")
        await pilot.pause()
        assert line().startswith(f"form: preset {name}, changed: inner learning rate  ")
        app.form.enter("algorithm.name", "fomaml")
        await pilot.pause()
        assert line().startswith(f"form: preset {name}, changed: algorithm, inner learning rate  ")
        app.form.enter("algorithm.name", "maml")
        await pilot.press("escape", "2")
        await app.workers.wait_for_complete()
        await pilot.press("enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert line().endswith("showing: ━ maml-sinusoid-20260101-000000 (finished)")
        assert line().startswith(f"form: preset {name}, changed: inner learning rate  ")


@pytest.mark.parametrize(
    ("source", "path"), [("sinusoid", "algorithm.inner_lr"), ("omniglot", "task.shots")], ids=["alone", "in_conflict"]
)
async def test_changes_are_counted_besides_an_invalid_field(
    make: Callable[..., MetatuiApp], source: str, path: str
) -> None:
    # The default of the shots is not possible with these queries, so nothing can replace an invalid value.
    settings = Settings.model_validate({"task": {"source": source, "shots": 5, "queries": 15}})
    app = make(settings)
    async with app.run_test(size=(80, 24)) as pilot:
        app.form.enter("algorithm.meta_batch", "3")
        app.form.enter("training.seed", "7")
        (await app.form.reveal(path)).control.focus()
        await pilot.press("x")
        await pilot.pause()
        assert list(app.form.assessment.problems) == [path]
        line = app.work_tab.status.render_line(0).text.strip()
        assert line.startswith("form: initial settings, changed: meta-batch, seed, 1 invalid  ")
        assert app.presets.changes_in_form()[1] == [("Meta-batch", "3 (initial 4)"), ("Seed", "7 (initial 0)")]


async def test_runs_that_do_not_fit_are_counted(make: Callable[..., MetatuiApp]) -> None:
    app = make()
    async with app.run_test(size=(100, 40)) as pilot:
        runs = [RunState(f"reptile-sinusoid-2026010{n}-000000", "adaptation", "hue-blue") for n in range(4)]
        app.work_tab.status.show_runs(runs)
        await pilot.pause()
        line = app.work_tab.status.render_line(0).text.strip()
        assert line.startswith("form: initial settings  ")
        assert line.endswith("━ reptile-sinusoid-20260100-000000  and 3 more")


async def test_settings_of_the_command_line_are_changes_of_their_preset(sessions: FakeSessions, runs_dir: Path) -> None:
    arguments = app_arguments("quick", ["evaluation.tasks=7"], start=False, runs_dir=runs_dir)
    app = make_app(**arguments, sessions=sessions)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        line = app.work_tab.status.render_line(0).text.strip()
        assert line.startswith("form: preset quick, changed: validation tasks  ")
        await pilot.press("f5")
        await app.workers.wait_for_complete()
        assert sessions.started[0][0].evaluation.tasks == 7
        assert sessions.started[0][1] == "quick (changed)"


def test_a_preset_without_changes_is_its_own_origin(make: Callable[..., MetatuiApp], runs_dir: Path) -> None:
    quick = app_arguments("quick", [], start=False, runs_dir=runs_dir)
    app = make_app(**quick)
    assert app.presets.origin_of(quick["settings"]) == "quick"
    assert make(Settings()).presets.origin_of(quick["settings"]) is None
