"""Tests of the tour, and of the message that offers the tour when the app is started for the first time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.widgets import Input
from textual.widgets._toast import Toast

from metatui.config import presets
from metatui.config.settings import Settings
from metatui.events import Evaluated
from metatui.tui import preferences
from metatui.tui.app import MetatuiApp
from metatui.tui.controllers.analysis import AnalysisController
from metatui.tui.launch import make_app
from metatui.tui.model.run_model import RunModel
from metatui.tui.screens.dialogs.help import HelpScreen
from metatui.tui.tour.card import TourCard, TourOffer
from metatui.tui.tour.steps import ITERATIONS, PRESET, STEPS
from metatui.utils import paths
from tests.tui.fakes import FakeSessions, evaluation, saved_run, views, wait_for_workers

Make = Callable[..., MetatuiApp]


async def test_each_step_ends_when_the_user_has_done_it(
    make: Make, sessions: FakeSessions, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The comparison would start a process that imports torch.
    monkeypatch.setattr(AnalysisController, "action_compare_runs", lambda self: None)
    app = make()

    def step() -> str:
        card = app.screen_stack[0].query_one(TourCard)
        assert str(card.border_title).endswith(STEPS[card.step].title)
        return STEPS[card.step].title

    def text() -> str:
        return str(app.screen_stack[0].query_one(TourCard).render())

    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("T")
        await pilot.pause()
        assert step() == "train"
        app.notify("A note. " * 20)
        await pilot.pause()
        card, note = app.screen.query_one(TourCard), app.screen.query_one(Toast)
        assert note.region.height > 1
        assert not card.region.overlaps(note.region)
        await pilot.press("escape")
        await pilot.pause()
        assert not app.screen.query(TourCard)
        await pilot.press("T", "ctrl+o", "f6")  # pausing is not possible, and does not end the step
        await pilot.pause()
        assert step() == "train"
        assert "The form is set to 200,000 iterations" in text()
        assert "Press F5." in text()
        await pilot.press("f5")
        await pilot.pause()
        assert sessions.started[0][0].training.iterations == ITERATIONS
        session = sessions.session
        assert session is not None
        await session.wait_until_shown(app, pilot)
        assert step() == "watch adaptation"
        assert "Press [, then ] until the last step is shown again." in text()
        assert app.work_tab.pane == "adaptation"
        assert app.screen.query_one("#adaptation").display
        await pilot.press("[", "]")  # without an effect, because there are no tasks yet
        await pilot.pause()
        assert step() == "watch adaptation"
        session.emit(Evaluated(evaluation(session.settings, 1), views(session.settings), best=True))
        await session.wait_until_shown(app, pilot)
        await pilot.press("[")
        await pilot.pause()
        assert app.work_tab.adaptation.shown_step == 1
        assert step() == "watch adaptation"
        await pilot.press("]")
        await pilot.pause()
        assert app.work_tab.adaptation.step is None, "later runs show their last step"
        assert step() == "change a setting"
        assert "No run is training" not in text()
        await pilot.press("f4")
        await pilot.pause()
        app.screen.query_one("#field-algorithm-inner_lr Input", Input).value = "0.005"
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        await session.wait_until_shown(app, pilot)
        assert step() == "stop"
        await pilot.press("f7")
        await pilot.pause()
        await session.wait_until_ended(app, pilot)
        assert step() == "save a preset"
        usual = presets.load(PRESET).settings.training.iterations
        assert app.form.text("training.iterations") == str(usual)
        await pilot.press("f2")
        await pilot.pause()
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert presets.load("my-maml-sinusoid").settings.training.iterations == usual
        assert step() == "list the runs"
        saved_run(runs_dir, Settings(), name="maml-sinusoid-20260101-000000", steps=1)
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        assert step() == "compare"
        assert "The list has one run. To train another algorithm, press ^P, type 'algorithm fomaml'" in text()
        saved_run(runs_dir, Settings(), name="maml-sinusoid-20260102-000000", steps=1)
        app.runs_tab.reload()
        await wait_for_workers(app, pilot)
        assert "The list has one run" not in text()
        assert "returns to the list" not in text()
        await pilot.press("1")
        await wait_for_workers(app, pilot)
        assert text().endswith("2 returns to the list."), "the new run is shown in the work tab"
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        assert "returns to the list" not in text()
        await pilot.press("c")  # without marks, only the selected run is measured
        await wait_for_workers(app, pilot)
        assert step() == "compare"
        for keys in (["space", "up"], ["space"], ["c"]):
            await pilot.press(*keys)
            await wait_for_workers(app, pilot)
        assert step() == "find everything else"
        await pilot.press("f1")
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        assert not app.screen_stack[0].query(TourCard)
        assert "The tour is complete." in list(app._notifications)[-1].message


async def test_the_tour_ignores_what_happens_after_its_last_step(make: Make) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("T")
        await pilot.pause()
        app.screen.query_one(TourCard).step = len(STEPS) - 1
        app.happened.publish("help")
        app.happened.publish(app.context)  # both are received before the card is removed
        await pilot.pause()
        assert not app.screen.query(TourCard)
        messages = [note.message for note in app._notifications]
        assert sum("The tour is complete." in message for message in messages) == 1


async def test_first_start_offers_the_tour_once(
    sessions: FakeSessions, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metatui.tui.app.FINISH_START_AFTER", 0.01)
    paths.app_state_file().unlink()
    app = make_app(runs_dir=runs_dir, sessions=sessions)
    async with app.run_test(size=(80, 24)) as pilot:
        while not app.screen.query("#tour"):
            await pilot.pause()
        await pilot.pause()
        offer = "".join(strip.text for strip in app.screen._compositor.render_strips())
        assert "F5 trains MAML on sine waves in under a minute. T starts a tour of the app." in offer
        app.form.enter("task.source", "glyphs")  # trains longer
        await pilot.pause()
        assert str(app.screen.query_one("#tour", TourOffer).render()) == "T starts a tour of the app."
        app.form.enter("task.source", "sinusoid")
        await pilot.pause()
        assert "under a minute" in str(app.screen.query_one("#tour", TourOffer).render())
        app.run_controller.show(RunModel(Settings(), "maml-sinusoid-20260101-000000", "Finished"))
        await pilot.pause()
        assert not app.screen.query("#tour")
        assert preferences.load().tour_offered
    again = make_app(runs_dir=runs_dir, sessions=sessions, tour=True)
    assert again.preferences.tour_offered
    async with again.run_test(size=(80, 24)) as pilot:
        while not again.screen.query("#tour"):
            await pilot.pause()
        assert isinstance(again.screen.query_one("#tour"), TourCard)
        await pilot.pause()  # until the app has handled all messages, because `run_test` would close the screens first


@pytest.mark.parametrize("tour", [False, True], ids=["offered", "started"])
async def test_user_can_quit_before_the_tour_is_shown(
    sessions: FakeSessions, runs_dir: Path, monkeypatch: pytest.MonkeyPatch, *, tour: bool
) -> None:
    paths.app_state_file().unlink()
    app = make_app(runs_dir=runs_dir, sessions=sessions, tour=tour)
    async with app.run_test(size=(80, 24)):
        complete = app.create_tabs

        async def quit_meanwhile() -> None:
            await complete()
            app.exit(return_code=0)

        monkeypatch.setattr(app, "create_tabs", quit_meanwhile)
        await app.finish_start()
        await app.action_perform("tour")  # as if the key was pressed right after the one that quits
    assert app.return_code == 0


async def test_the_form_is_restored_when_the_tour_is_left(make: Make, sessions: FakeSessions) -> None:
    own = Settings.model_validate({"task": {"source": "glyphs"}, "training": {"iterations": 200}})
    app = make(own)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        field = await app.form.reveal("algorithm.inner_lr")
        field.control.focus()
        await pilot.press(*"x", "escape")  # an invalid value is restored as well
        text = app.form.text("algorithm.inner_lr")
        await pilot.press("T")
        await pilot.pause()
        assert app.form.text("training.iterations") == str(ITERATIONS)
        assert not app._notifications  # a message would cover the card
        await pilot.press("escape")
        await pilot.pause()
        assert app.form.text("algorithm.inner_lr") == text
        assert app.form.text("training.iterations") == "200"
        assert "form: initial settings, changed" not in app.work_tab.status.render_line(0).text
        assert list(app._notifications)[-1].message == "Your settings are in the form again."
        app.form.load(own)
        await pilot.press("T", "f5")
        await pilot.pause()
        session = sessions.session
        assert session is not None
        await session.wait_until_shown(app, pilot)
        await pilot.press("escape")
        await pilot.pause()
        assert list(app._notifications)[-1].message == "Your settings return to the form when the run ends."
        assert app.form.text("task.source") == "sinusoid"
        await pilot.press("f7")
        await session.wait_until_ended(app, pilot)
        assert app.form.assessment.settings == own
        assert "form: initial settings  " in app.work_tab.status.render_line(0).text


async def test_a_tour_during_a_run_begins_with_its_adaptation(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f5")
        await app.workers.wait_for_complete()
        session = sessions.session
        assert session is not None
        await session.wait_until_shown(app, pilot)
        await pilot.press("T")
        await pilot.pause()
        assert STEPS[app.screen.query_one(TourCard).step].title == "watch adaptation"
        assert app.work_tab.pane == "adaptation"
        await pilot.press("f7")
        await session.wait_until_ended(app, pilot)


async def test_settings_loaded_during_the_tour_stay_in_the_form(make: Make) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("T")
        await pilot.pause()
        app.presets.load_preset(presets.load("sinusoid-finn"))
        await pilot.press("escape", "escape")
        await pilot.pause()
        assert not app.screen.query(TourCard)
        assert app.form.assessment.settings == presets.load("sinusoid-finn").settings
