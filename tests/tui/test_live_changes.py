"""Tests of live changes of settings in the app, and of how the app shows results that are not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input

from metatui.config.fields import FIELDS, change
from metatui.config.settings import Settings
from metatui.events import Change, Curve, Evaluated, Evaluating, Evaluation, Finished, Started, Stop, Tweaked, Warned
from metatui.runs.analysis.comparison.training_curves import live_changes, read_steps
from metatui.runs.formatting import result_words
from metatui.runs.storage.journal import JournalWriter
from metatui.runs.storage.result_files import EvaluationRecord, write_record
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.summary import summarise
from metatui.runs.storage.writer import journal_details as details_of
from metatui.tui.app import MetatuiApp
from metatui.tui.formatting import best_and_last
from metatui.tui.model.replay import Replay
from metatui.tui.model.run_model import RunModel
from metatui.tui.screens.dialogs.live_settings import LimitedField, LiveScreen
from metatui.tui.screens.main.header_footer import KeyBar, TopBar, key_bar_actions
from metatui.tui.screens.main.tabs.run_list import has_no_result, result
from metatui.tui.screens.main.tabs.run_preview import results
from metatui.tui.widgets.form.fields import FormField
from metatui.tui.widgets.static_text import StaticText
from tests.tui.fakes import FakeSession, FakeSessions, evaluation, progress, saved_run, start_run

SIZE = (120, 40)
Make = Callable[..., MetatuiApp]
INNER, OUTER = "algorithm.inner_lr", "algorithm.outer_lr"
NO_SETTINGS = Settings()


def lost(iteration: int, split: str = "val") -> Evaluation:
    """Return an evaluation in which every task diverged."""
    made = evaluation(NO_SETTINGS, iteration, split)
    nan = (math.nan,) * 3
    return replace(made, loss=Curve(nan, nan), diverged=made.tasks, inner_lr=0.1)


def notes(app: MetatuiApp) -> list[str]:
    return [note.message for note in app._notifications]


def screen_of(app: MetatuiApp) -> str:
    return app.export_screenshot().replace("&#160;", " ")


async def changed(app: MetatuiApp, pilot: Pilot[None], session: FakeSession, path: str, value: float) -> None:
    """Change a setting of the fake run, and wait until the app shows that the run has applied the change."""
    app.run_controller.client.change(path, value)
    await session.wait_until_shown(app, pilot)
    assert app.run_controller.shown is not None
    session.settings = app.run_controller.shown.settings


def test_undo_ignores_changes_by_the_trainer() -> None:
    model = RunModel(Settings())
    model.add_event(Tweaked(5, INNER, 0.01, 0.1))
    model.add_event(Tweaked(6, "compute.tasks_at_once", 0, 12))
    assert [made.path for made in model.undoable] == [INNER]


async def test_key_undoes_live_changes_in_turn(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        session = await start_run(app, pilot, sessions)
        session.emit(*map(progress, range(1, 21)))
        await session.wait_until_shown(app, pilot)
        await pilot.press("r")
        assert notes(app)[-1] == "Nothing to undo: no setting was changed during training."
        assert session.commands == []
        await changed(app, pilot, session, INNER, 0.1)
        await changed(app, pilot, session, OUTER, 0.5)
        assert "undo" in [action.id for action in key_bar_actions(app.screen.query_one(KeyBar).context)]
        await pilot.press("r", "ctrl+underscore")  # the second before the first is applied
        assert session.commands[-2:] == [Change(OUTER, 0.001), Change(INNER, 0.01)]
        assert notes(app)[-1] == "Inner learning rate changes back from 0.1 to 0.01 after this meta-step."
        await session.wait_until_shown(app, pilot)
        assert app.run_controller.shown is not None
        assert app.run_controller.shown.settings == Settings()
        assert app.run_controller.shown.journal[-1].text == "Inner learning rate changed from 0.1 to 0.01"
        await pilot.press("r")
        assert len(session.commands) == 4
        session.settings = app.run_controller.shown.settings
        await changed(app, pilot, session, INNER, 0.2)  # after an undo, new changes can be undone
        await pilot.press("r")
        assert session.commands[-1] == Change(INNER, 0.01)
        session.end()
        await session.wait_until_ended(app, pilot)
        await pilot.press("r")
        assert "No run is training here" in notes(app)[-1]
        assert notes(app)[-1].endswith("In the runs tab (2), r resumes a stopped run.")


async def test_start_values_return_to_the_form_after_the_run(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        session = await start_run(app, pilot, sessions)
        await changed(app, pilot, session, INNER, 0.1)
        await changed(app, pilot, session, INNER, 0.2)
        await changed(app, pilot, session, OUTER, 0.5)
        await changed(app, pilot, session, OUTER, 0.001)
        session.end(Finished(20, "iterations", 1.0, None))
        await session.wait_until_ended(app, pilot)
        kept = "The form keeps changes made during the run (inner learning rate 0.2): r undoes them."
        assert notes(app)[-1] == f"Finished. {kept}"
        assert app.form.text(INNER) == "0.2"
        assert "undo" in [action.id for action in key_bar_actions(app.screen.query_one(KeyBar).context)]
        await pilot.press("r")
        assert notes(app)[-1] == "The form has the values from the start of the run again: inner learning rate 0.01."
        assert app.form.assessment.settings == Settings()
        await pilot.press("r")
        assert "No run is training here." in notes(app)[-1]


async def test_value_entered_after_the_run_is_not_replaced(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        session = await start_run(app, pilot, sessions)
        await changed(app, pilot, session, INNER, 0.1)
        session.end(Finished(20, "iterations", 1.0, None))
        await session.wait_until_ended(app, pilot)
        assert app.form.restorable
        session = await start_run(app, pilot, sessions)
        assert not app.form.restorable
        await changed(app, pilot, session, INNER, 0.2)
        await pilot.press("d")
        await pilot.pause()
        assert notes(app)[-1].endswith("made during the run (inner learning rate 0.2): r undoes them.")
        app.form.enter(INNER, "0.3")
        assert not app.form.restorable


async def test_refused_undo_can_be_requested_again(
    make: Make, sessions: FakeSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        session = await start_run(app, pilot, sessions)
        await changed(app, pilot, session, INNER, 0.1)
        monkeypatch.setattr(session, "submit", session.commands.append)
        await pilot.press("r", "r")
        assert session.commands[1:] == [Change(INNER, 0.01)]
        assert notes(app)[-1] == "Nothing to undo: no setting was changed during training."
        session.emit(Warned(5, "the change was refused"))
        await session.wait_until_shown(app, pilot)
        await pilot.press("r")
        assert session.commands[1:] == [Change(INNER, 0.01)] * 2
        session.end()
        await session.wait_until_ended(app, pilot)


async def test_change_of_another_viewer_is_undone_too(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        session = await start_run(app, pilot, sessions)
        await changed(app, pilot, session, INNER, 0.1)
        session.settings = change(session.settings, {INNER: 0.3})
        session.emit(Tweaked(0, INNER, 0.1, 0.3))
        await session.wait_until_shown(app, pilot)
        await pilot.press("r")
        assert session.commands[-1] == Change(INNER, 0.1)
        session.end()
        await session.wait_until_ended(app, pilot)


async def test_changes_are_marked_on_the_curves(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        session = await start_run(app, pilot, sessions)
        session.emit(*map(progress, range(1, 201)))
        await session.wait_until_shown(app, pilot)
        assert "┊" not in screen_of(app)
        await changed(app, pilot, session, INNER, 0.1)
        session.emit(*map(progress, range(201, 401)))
        await session.wait_until_shown(app, pilot)
        assert screen_of(app).count("┊") > 2
        assert "inner_lr 0.1" in screen_of(app)
        assert app.run_controller.shown is not None
        (made,) = app.run_controller.shown.changes
        assert (made.iteration, made.seconds) == (200, 20.0)
        await pilot.press("t")  # plot against time
        await pilot.pause()
        assert "inner_lr 0.1" in screen_of(app)
        session.end()
        await session.wait_until_ended(app, pilot)


def test_changes_are_marked_when_a_run_is_reopened_and_compared(runs_dir: Path) -> None:
    run = saved_run(runs_dir, Settings(), name="maml-sinusoid-20260102-030405", steps=50, test=False)
    journal = JournalWriter(run.journal_path)
    for iteration, old, new in ((20, 0.01, 0.1), (30, 0.1, 0.01), (40, 0.01, 0.02)):
        journal.record("tweaked", iteration, path=INNER, old=old, new=new)
    journal.close()
    model = Replay(run).read()
    assert [(c.iteration, c.seconds, c.label) for c in model.changes] == [
        (20, 2.0, "inner_lr 0.1"), (30, 3.0, "inner_lr 0.01"), (40, 4.0, "inner_lr 0.02"),
    ]  # fmt: skip
    assert [c.new for c in model.undoable] == [0.02]
    compared = live_changes(run, read_steps(run))
    assert [(c.at.iterations, c.at.seconds, c.label) for c in compared] == [
        (c.iteration, c.seconds, c.label) for c in model.changes
    ]


def test_resumed_run_forgets_changes_after_its_checkpoint() -> None:
    model = RunModel(Settings())
    for event in (Tweaked(10, INNER, 0.01, 0.1), Tweaked(30, INNER, 0.1, 0.2)):
        model.add_event(event)
    model.add_event(Started(Settings(), "cpu", "cpu", "batched", "", 1, 20))
    assert [c.iteration for c in model.changes] == [10]
    model.add_event(Tweaked(30, INNER, 0.1, 0.2))
    assert [c.iteration for c in model.changes] == [10, 30]


async def test_dialog_shows_the_limits_of_the_fields(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await start_run(app, pilot, sessions)
        await pilot.press("f4")
        await pilot.pause()
        shown = {
            field.setting.path: "".join(segment.text for segment in field.render_line(0)).strip()
            for field in app.screen.query(FormField)
        }
        assert shown["algorithm.inner_lr"].endswith("above 0 and up to 100")
        assert shown["training.iterations"].endswith("from 1 to 100,000,000"), "the longest limits fit"


async def test_numbers_may_have_thousands_separators(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        control = app.query_one("#field-training-iterations Input", Input)
        control.value = "1,000"
        await pilot.pause()
        session = await start_run(app, pilot, sessions)
        assert session.settings.training.iterations == 1000
        control.focus()
        control.value = "1,000"
        await pilot.pause()
        assert not app.query("#field-training-iterations .field-error"), "the value is that of the run"
        control.value = "2,000"
        await pilot.pause()
        note = app.query_one("#field-training-iterations .field-error", StaticText)
        assert str(note.render()) == "Enter applies the new value."
        await pilot.press("enter", "f4")
        await pilot.pause()
        assert isinstance(app.screen, LiveScreen)
        app.screen.query_one("#field-training-iterations Input", Input).value = "3,000"
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert session.commands == [Change("training.iterations", 2000), Change("training.iterations", 3000)]


@pytest.mark.parametrize("width", [60, 80])
async def test_dialog_shows_whole_limits_at_any_width(make: Make, sessions: FakeSessions, width: int) -> None:
    app = make()
    async with app.run_test(size=(width, 24)) as pilot:
        await start_run(app, pilot, sessions)
        await pilot.press("f4")
        await pilot.pause()
        field = app.screen.query_one("#field-algorithm-inner_lr", LimitedField)
        field.control.focus()
        await pilot.pause()
        limits = "above 0 and up to 100"
        assert field.setting.limits == limits
        help_text = str(app.screen.query_one("#live-help", StaticText).render())
        assert (limits in str(field.render())) is (width == 80)
        assert help_text == (field.setting.help if width == 80 else f"Above 0 and up to 100. {field.setting.help}")


async def test_dialog_says_that_the_run_has_ended(make: Make, sessions: FakeSessions) -> None:
    """Check that a value typed into the live-settings dialog is copied to the form if the run ends in the meantime."""
    app = make()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        session = await start_run(app, pilot, sessions)
        await pilot.press("f4")
        await pilot.pause()
        assert isinstance(app.screen, LiveScreen)
        hint = app.screen.query_one(".dialog-hint", StaticText)
        assert "Changes apply from the next meta-step" in str(hint.render())
        app.screen.query_one("#field-algorithm-inner_lr Input", Input).value = "0.005"
        await pilot.pause()
        session.end(Finished(20, "iterations", 1.0, None))
        await session.wait_until_ended(app, pilot)
        assert isinstance(app.screen, LiveScreen)
        assert str(hint.render()).startswith("The run has ended")
        await pilot.press("enter")
        await pilot.pause()
        assert not isinstance(app.screen, LiveScreen)
        assert app.form.text("algorithm.inner_lr") == "0.005"
        assert not any(isinstance(command, Change) for command in session.commands)
        assert notes(app) == ["The run has ended: the form now has inner learning rate 0.005 for the next run."]


async def test_nonfinite_validation_is_shown_next_to_the_best(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        session = await start_run(app, pilot, sessions)
        session.emit(*map(progress, range(1, 201)))
        session.emit(Evaluated(evaluation(NO_SETTINGS, 200), (), best=True))
        await session.wait_until_shown(app, pilot)
        assert "0.50 ± 0.10 at 200" in screen_of(app)
        assert not app.screen.query_one(TopBar).warned
        session.emit(*map(progress, range(201, 401)))
        session.emit(Evaluated(lost(400), (), best=False))
        await session.wait_until_shown(app, pilot)
        assert app.run_controller.shown is not None
        assert "0.50 ± 0.10 at 200" in screen_of(app)
        assert "diverged at 400" in screen_of(app)
        assert app.screen.query_one(TopBar).state[2] == "validation diverged"
        assert app.screen.query_one(TopBar).warned
        line = app.run_controller.shown.journal[-1]
        assert (line.tone, "100 of 100 tasks diverged" in line.text) == ("warning", True)
        assert "✗" in screen_of(app)  # on the x axis of the curves
        session.end(Finished(400, "iterations", 40.0, lost(200, "test"), warning="The test diverged: lower it"))
        await session.wait_until_ended(app, pilot)
        assert [line.tone for line in list(app.run_controller.shown.journal)[-3:]] == ["warning"] * 3
        assert app.screen.query_one(TopBar).state[:2] == ("Finished", "test diverged")
        assert app.screen.query_one(TopBar).warned
        (note,) = app._notifications
        assert note.severity == "warning"
        assert "The test diverged: lower it" in note.message


def test_result_names_its_settings() -> None:
    best = evaluation(NO_SETTINGS, 2100)
    test = replace(evaluation(NO_SETTINGS, 2100, "test"), inner_lr=0.01, checkpoint="best")
    assert result_words(test, best).endswith("test tasks); α = 0.01, best at meta-step 2,100")
    assert result_words(replace(test, checkpoint="last"), None).endswith("last at meta-step 2,100")
    assert result_words(replace(test, inner_lr=None, checkpoint=None), best).endswith("; best at meta-step 2,100")


def test_best_and_last_validation() -> None:
    best = evaluation(NO_SETTINGS, 2000)
    assert best_and_last(best, best) == "best loss 0.500 at 2,000"
    assert best_and_last(best, lost(2100)) == "best loss 0.500 at 2,000 · last diverged"
    assert best_and_last(None, lost(2100)) == "no finite validation result · last diverged"
    images = Settings.model_validate({"task": {"source": "glyphs"}})
    assert best_and_last(evaluation(images, 5), evaluation(images, 9)) == "best 90.0 % at 5 · last 90.0 %"


def saved(root: Path, last: Evaluation, test: Evaluation | None, *, name: str) -> RunFolder:
    """Create the folder of a run whose last validation is `last` and whose test result is `test`."""
    run = saved_run(root, Settings(), name=name, steps=50, test=test is not None)
    best = evaluation(NO_SETTINGS, 20)
    write_record(run.evaluation_path, EvaluationRecord(validation=last, best=best, test=test))
    return run


def test_run_list_shows_best_last_and_valid_test(runs_dir: Path) -> None:
    run = saved(runs_dir, lost(50), None, name="maml-sinusoid-20260102-030405")
    stopped = summarise(run)
    assert result(stopped) == "best loss 0.500 at 20 · last diverged"
    assert has_no_result(stopped)
    assert any(line.startswith("Last validation: loss diverged") for line in results(stopped))
    run = saved(runs_dir, evaluation(NO_SETTINGS, 50), lost(20, "test"), name="maml-sinusoid-20260103-030405")
    finished = summarise(run)
    assert result(finished) == "test: 100 of 100 tasks diverged"
    assert has_no_result(finished)
    few = replace(finished, test=replace(evaluation(NO_SETTINGS, 50), diverged=3))
    assert result(few).endswith(", 3 diverged")
    journal = JournalWriter(run.journal_path)
    journal.record("started", 30)
    journal.record("interrupted", 40)
    journal.close()
    assert summarise(run).test is None
    assert Replay(run).read().test is None


def test_resumed_run_shows_no_result_from_after_its_checkpoint() -> None:
    model = RunModel(Settings())
    for iteration in (100, 200):
        model.add_event(Evaluated(evaluation(NO_SETTINGS, iteration), (), best=True))
    model.add_event(Finished(200, "iterations", 1.0, evaluation(NO_SETTINGS, 200, "test")))
    model.add_event(Started(Settings(), "cpu", "cpu", "batched", "", 1, 150))
    assert (model.evaluation, model.best, model.test, model.ended) == (None, None, None, None)
    assert [point.x for point in model.val_loss.points(10)] == [100]
    record = EvaluationRecord(
        validation=evaluation(NO_SETTINGS, 200),
        best=evaluation(NO_SETTINGS, 100),
        test=evaluation(NO_SETTINGS, 100, "test"),
    )
    held = record.holding(150, finished=False)
    assert (held.validation, held.best, held.test) == (None, record.best, None)
    assert record.holding(200, finished=True) == record


async def test_training_is_complete_if_a_run_was_stopped_during_its_test(make: Make, sessions: FakeSessions) -> None:
    settings = change(NO_SETTINGS, {"training.early_stop": 2})
    app = make(settings=settings)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        session = await start_run(app, pilot, sessions)
        session.emit(progress(10), Evaluated(evaluation(settings, 10), (), best=True))
        for iteration in (20, 30):
            session.emit(progress(iteration), Evaluated(evaluation(settings, iteration), (), best=False))
        session.emit(Evaluating(30, "test", 0, 600))
        await session.wait_until_shown(app, pilot)
        session.submit(Stop())
        await session.wait_until_ended(app, pilot)
        assert app.top_bar.state[0] == "Stopped, trained"
        assert "The training is complete, but the run was not tested." in notes(app)[-1]


def test_reopened_journal_has_nonfinite_validations(runs_dir: Path) -> None:
    run = saved_run(runs_dir, Settings(), name="maml-sinusoid-20260102-030405", steps=50, test=False)
    journal = JournalWriter(run.journal_path)
    journal.record("evaluated", 40, best=False, regular=True, **details_of(lost(40)))
    journal.close()
    model = Replay(run).read()
    (line,) = [line for line in model.journal if line.text.startswith("val ")]
    assert line.tone == "warning"
    assert line.text == "val 100 of 100 tasks diverged"
    assert math.isnan(model.val_loss.points(10)[-1].mean)


async def test_dialog_explains_the_focused_setting(make: Make) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = LiveScreen(Settings())
        await app.push_screen(screen)
        await pilot.pause()
        shown = screen.query_one("#live-help", StaticText)
        assert str(shown.render()) == FIELDS["algorithm.inner_lr"].help
        screen.query_one("#field-compute-tasks_at_once Input").focus()
        await pilot.pause()
        assert "0 uses as many as fit" in str(shown.render())
        assert screen.query_one("#accept", Button).region.bottom < 24


async def test_run_ends_before_the_dialog_is_drawn(make: Make) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = LiveScreen(Settings())
        screen.run_ended()
        await app.push_screen(screen)
        await pilot.pause()
        assert str(screen.query_one("#accept", Button).label) == "Apply to form (enter)"


async def test_dialog_names_a_problem_with_a_setting_that_it_does_not_contain(
    make: Make, sessions: FakeSessions
) -> None:
    settings = change(Settings(), {"algorithm.outer_schedule": "cosine", "algorithm.outer_lr_final": 0.0005})
    app = make(settings)
    async with app.run_test(size=SIZE) as pilot:
        await start_run(app, pilot, sessions)
        await pilot.press("f4")
        await pilot.pause()
        assert isinstance(app.screen, LiveScreen)
        field = next(field for field in app.screen.query(FormField) if field.setting.path == OUTER)
        field.control.focus()
        await pilot.pause()
        await pilot.press(*"0.0001", "enter")
        await pilot.pause()
        assert isinstance(app.screen, LiveScreen)
        assert "algorithm.outer_lr_final is 0.0005, but must be at most" in screen_of(app)
        assert app.focused is field.control


def test_speed_after_a_return_to_a_checkpoint() -> None:
    model = RunModel(Settings())
    for iteration in (*range(1, 101), *range(11, 14)):
        model.add_event(
            replace(progress(iteration), iteration=iteration, seconds=iteration / 10, tasks_seen=4 * iteration)
        )
    assert model.speeds is not None
    assert [round(speed, 6) for speed in model.speeds] == [10, 40]
