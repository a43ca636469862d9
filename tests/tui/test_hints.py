"""Tests of the usual values that the form offers for an algorithm or a task source, and of hints about a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets._toast import Toast

from metatui.config.declarations import Scalar
from metatui.config.fields import change, text_of
from metatui.config.settings import Settings
from metatui.events import Change, Evaluated, Finished, Hinted, Tweaked
from metatui.runs.storage.journal import JournalWriter
from metatui.tui.app import MetatuiApp
from metatui.tui.model.run_model import RunModel
from metatui.tui.widgets.form.controls import ChoiceList
from metatui.tui.widgets.form.fields import FormField
from metatui.tui.widgets.form.model import texts_of
from metatui.tui.widgets.form.offer import offer
from tests.tui.fakes import FakeSessions, evaluation, progress, saved_run, started_event

INNER, OUTER = "algorithm.inner_lr", "algorithm.outer_lr"
SELECTED = change(Settings(), {"algorithm.name": "reptile"})
USUAL = change(SELECTED, {"algorithm.inner_steps": 5, OUTER: 0.1})
SLOW = Hinted(100, "hardly_moving", "The parameters hardly move", OUTER, 0.001, 0.1)
OVERFITTING = Hinted(200, "overfitting", "Validation has become worse", "training.iterations", 5000, 200)
NOISY = Hinted(200, "noisy_validation", "Validation is noisy: 0.4 ± 0.4 with 8 tasks", "evaluation.tasks", 8, 150)


async def select(app: MetatuiApp, pilot: Pilot[None], path: str, text: str) -> FormField:
    """Choose `text` by keyboard in the list of values of the setting `path`, and return the form field."""
    field = await app.form.reveal(path)
    field.control.focus()
    await pilot.press("enter")
    choices = app.form.query_one(ChoiceList)
    assert choices.size.width >= max(map(len, field.setting.choices))
    await pilot.press(*text[:3], "enter")  # three letters are enough: a name that begins with them comes first
    await pilot.pause()
    assert field.text == text
    return field


def notes(app: MetatuiApp) -> dict[str, str]:
    """Return the notes that the form shows below its fields, keyed by the path of the setting."""
    lines = {field.setting.path: field.query("StatusLine") for field in app.form.fields if field.display}
    return {path: str(line.first().render()) for path, line in lines.items() if line and line.first().display}


async def test_usual_values_are_offered_taken_and_restored(make: Callable[..., MetatuiApp]) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        await select(app, pilot, "algorithm.name", "reptile")
        assert notes(app) == {
            "algorithm.name": "Reptile usually uses inner steps = 5 and outer learning rate = 0.1. Enter fills "
            "them in, Esc keeps your values.",
            "algorithm.inner_steps": "Usual: 5",
            OUTER: "Usual: 0.1",
        }
        assert app.form.assessment.settings == SELECTED, "nothing is filled in silently"
        await pilot.press("enter")
        assert app.form.assessment.settings == USUAL
        assert notes(app) == {"algorithm.name": "The usual values of Reptile are filled in. r restores your values."}
        await pilot.press("tab")  # to a text field, in which r is a letter
        assert notes(app) == {"algorithm.name": "The usual values of Reptile are filled in. ^_ restores your values."}
        await pilot.press("ctrl+underscore")
        assert app.form.assessment.settings == SELECTED
        await pilot.press("shift+tab", "enter")
        assert "r restores your values." in notes(app)["algorithm.name"]
        await pilot.press("r")
        assert app.form.assessment.settings == SELECTED
        assert app.context.hinted
        await pilot.press("escape")
        assert notes(app) == {}
        assert not app.context.hinted
        assert app.form.assessment.settings == SELECTED

        await select(app, pilot, "task.source", "glyphs")
        assert "inner optimiser = adam" in notes(app)["task.source"]
        await pilot.press("tab", "enter")
        assert notes(app)["task.source"].endswith("Esc, then h, fills them in."), "letters select in the open list"
        await pilot.press("escape", "escape", "h")  # h follows the offer from any place
        assert app.form.assessment.settings is not None
        assert text_of(app.form.assessment.settings.value("algorithm.inner_optimizer")) == "adam"
        app.form.load(Settings())
        assert notes(app) == {}
        await pilot.pause()
        app.form.enter("algorithm.name", "reptile")  # as the palette does
        assert app.form.offer
        assert notes(app)["algorithm.name"].endswith("0.1. h fills them in.")
        (await app.form.reveal("algorithm.inner_steps")).control.focus()
        await pilot.pause()
        assert notes(app)["algorithm.name"].endswith("0.1. Esc, then h, fills them in.")
        await pilot.press("escape")
        await pilot.pause()
        assert notes(app)["algorithm.name"].endswith("0.1. h fills them in.")
        await pilot.press("h")
        assert app.form.assessment.settings == USUAL


def test_values_that_are_not_numbers_are_replaced() -> None:
    texts = {**texts_of(Settings()), "algorithm.name": "reptile", OUTER: "fast", "algorithm.inner_steps": "5.0"}
    offered = offer(texts, "algorithm.name")
    assert offered
    assert offered.texts == {"algorithm.inner_steps": "5", OUTER: "0.1"}
    assert offered.before == {"algorithm.inner_steps": "5.0", OUTER: "fast"}
    assert offer({**texts, "algorithm.name": "scratch"}, "algorithm.name") is None


def line(app: MetatuiApp) -> str:
    return str(app.work_tab.hint.render()) if app.work_tab.hint.display else ""


async def test_hints_of_a_run(make: Callable[..., MetatuiApp], sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        field = await select(app, pilot, "algorithm.name", "fomaml")
        await select(app, pilot, "algorithm.name", "reptile")
        await pilot.press("f5")
        session = sessions.session
        assert session
        assert app.form.offer is None
        assert field.control.disabled
        await pilot.press("enter", "h")
        assert app.form.assessment.settings == SELECTED, "usual values cannot be taken during a run"
        session.emit(progress(100), SLOW, progress(200), NOISY)
        await session.wait_until_shown(app, pilot)
        put = "h puts the run's settings with validation tasks 150 into the form"
        assert line(app) == f"Hint (1 more): {NOISY.reason}. {put} when the run has ended; escape hides the hint."
        assert app.run_controller.shown
        said = "The parameters hardly move. Try algorithm.outer_lr = 0.1 instead of 0.001"
        assert said in [entry.text for entry in app.run_controller.shown.journal]
        await pilot.press("h")
        assert session.commands == [], "the number of tasks cannot be changed during a run"
        await pilot.press("escape")
        assert line(app) == f"Hint: {SLOW.reason}. h sets outer learning rate 0.1; escape hides the hint."
        await pilot.click("#hint")
        await session.wait_until_shown(app, pilot)
        assert session.commands == [Change(OUTER, 0.1)]
        assert line(app) == ""
        assert app.context.undoable
        session.emit(OVERFITTING)
        await session.wait_until_shown(app, pilot)
        assert line(app) == f"Hint: {OVERFITTING.reason}. h ends training now; escape hides the hint."
        await pilot.press("escape")
        assert line(app) == ""
        session.end(NOISY, Finished(200, "iterations", 1.0, evaluation(session.settings, 200, "test")))
        await session.wait_until_ended(app, pilot)
        assert put in line(app)
        await pilot.press("h")
        assert app.form.assessment.settings == change(SELECTED, {OUTER: 0.1, "evaluation.tasks": 150})
        told = [note.message for note in app._notifications][-1]
        assert told.endswith("The settings are those at the end of the run, with its live changes.")
        assert line(app) == ""


async def test_hint_changes_the_settings_of_the_run_itself(
    make: Callable[..., MetatuiApp], sessions: FakeSessions, runs_dir: Path
) -> None:
    """Check that the form gets the user's settings, not the device, engine and threads that the run selected."""
    app = make()
    own = Settings()
    chosen: dict[str, Scalar] = {"compute.device": "cpu", "compute.engine": "batched", "compute.threads": 1}
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("f5")
        session = sessions.session
        assert session
        run = saved_run(runs_dir, own, name=session.run.id, preset="quick")
        journal = JournalWriter(run.journal_path)
        journal.record("tweaked", 40, path=INNER, old=0.01, new=0.02)
        journal.close()
        resolved = change(own, chosen)
        session.emit(started_event(resolved), progress(40), Tweaked(40, INNER, 0.01, 0.02), progress(50), SLOW)
        session.end(Finished(50, "iterations", 1.0, evaluation(resolved, 50, "test")))
        await session.wait_until_ended(app, pilot)
        await pilot.press("h")
        settings = app.form.assessment.settings
        assert settings == change(own, {INNER: 0.02, OUTER: 0.1})
        assert app.presets.origin_of(settings) == "quick (changed)"


def test_hints_go_when_they_no_longer_apply() -> None:
    raised = change(Settings(), {INNER: 0.05})
    model, finite = RunModel(raised), evaluation(raised, 20)
    diverging = Hinted(20, "diverging", "Tasks diverged in two validations in a row", INNER, 0.05, 0.01)
    seen = Evaluated(replace(finite, diverged=40), (), best=False), diverging
    for event in (*seen, Tweaked(20, INNER, 0.05, 0.02)):
        model.add_event(event)
    assert model.hints == [diverging]
    model.add_event(Tweaked(30, INNER, 0.02, 0.01))
    assert model.hints == [], "the setting has the suggested value"
    for event in (Tweaked(40, INNER, 0.01, 0.05), *seen, SLOW, Evaluated(finite, (), best=False)):
        model.add_event(event)
    assert model.hints == [SLOW], "no task diverged in the last validation"


async def test_hints_of_a_run_from_disk(make: Callable[..., MetatuiApp], runs_dir: Path) -> None:
    run = saved_run(runs_dir, Settings(), name="maml-sinusoid-20260102-030405", steps=100, test=False)
    journal = JournalWriter(run.journal_path)
    for hint in (SLOW, NOISY):
        journal.record("hinted", **vars(hint))
    journal.record("hinted", 200, kind="nonsense", reason="An unknown kind", path="x", old=1, new=[2])
    journal.close()
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2", "enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        shown = app.run_controller.shown
        assert shown
        assert shown.hints == [SLOW, NOISY]
        assert shown.journal[-1].text == "An unknown kind"
        assert line(app).startswith("Hint (1 more): Validation is noisy")


async def test_notifications_do_not_cover_the_hint(make: Callable[..., MetatuiApp], runs_dir: Path) -> None:
    run = saved_run(runs_dir, Settings(), name="maml-sinusoid-20260102-030405", steps=100, test=False)
    journal = JournalWriter(run.journal_path)
    journal.record("hinted", **vars(SLOW))
    journal.close()
    app = make()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("2", "enter")
        await app.workers.wait_for_complete()
        app.notify("word " * 40, title="The run ended")
        await pilot.pause()
        assert line(app).startswith("Hint: The parameters hardly move")
        assert not app.screen.query_one(Toast).region.overlaps(app.work_tab.hint.region)
