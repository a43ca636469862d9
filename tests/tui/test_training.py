"""Tests of training in the app: starting, changing, pausing and stopping runs, and reporting failures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from textual._compositor import ChopsUpdate
from textual.pilot import Pilot
from textual.widgets import Input

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import (
    Change,
    Checkpoint,
    Checkpointed,
    Evaluate,
    Evaluated,
    Evaluating,
    Failed,
    Finished,
    Pause,
    Paused,
    Resume,
    Resumed,
    Stop,
    Warned,
)
from metatui.learning.data.schema import DataSchema, Standardisation
from metatui.runs.storage.result_files import DataRecord, write_record
from metatui.tui.app import MetatuiApp
from metatui.tui.keyboard.actions import Phase
from metatui.tui.model.system_monitor import Load
from metatui.tui.screens.dialogs.live_settings import LiveScreen
from metatui.tui.screens.main.curves import ENDED, CurveOptions, chart_of
from metatui.tui.screens.main.header_footer import KeyBar, TopBar
from metatui.tui.screens.main.run_pane import Fact, RunNumbers, facts_of
from metatui.tui.widgets.adaptation import AdaptationPanel
from metatui.tui.widgets.form.controls import Choice
from metatui.utils.errors import BadInput
from tests.tui.fakes import (
    FakeSession,
    FakeSessions,
    FakeStartingRun,
    evaluation,
    progress,
    start_run,
    views,
)
from tests.tui.screens.conftest import press_together

SIZE = (120, 40)
Make = Callable[..., MetatuiApp]


def running(sessions: FakeSessions) -> FakeSession:
    assert sessions.session is not None
    return sessions.session


def phase(app: MetatuiApp) -> Phase:
    return app.run_controller.client.phase


async def wait_until_noticed(app: MetatuiApp, pilot: Pilot[None]) -> None:
    """Wait until the app has noticed that the start of a run failed or was stopped."""
    assert app.run_controller.client.receiver is not None
    await asyncio.to_thread(app.run_controller.client.receiver.over.wait)
    app.run_controller.update()
    await pilot.pause()


def notes(app: MetatuiApp) -> list[str]:
    return [note.message for note in app._notifications]


async def test_packing_is_shown(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        sessions.packing = [(0, 5000), (3072, 5000)]
        await pilot.press("f5")
        await asyncio.to_thread(sessions.packed.wait)
        app.run_controller.update()
        await pilot.pause()
        assert phase(app) is Phase.PACKING
        assert app.screen.query_one(TopBar).state[:2] == ("Packing images…", "3,072 of 5,000")
        assert "3,072 of 5,000 packed" in app.export_screenshot().replace("&#160;", " ")
        sessions.may_train.set()
        assert app.run_controller.client.receiver is not None
        await asyncio.to_thread(app.run_controller.client.receiver.opened.wait)
        await running(sessions).wait_until_shown(app, pilot)
        assert phase(app) is Phase.RUNNING
        assert app.screen.query_one(TopBar).state[1] == "0 of 5,000"
        assert "of 5,000 packed" not in app.export_screenshot().replace("&#160;", " ")


async def test_unit_of_losses_is_shown_from_the_first_validation_on(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        session = await start_run(app, pilot, sessions)
        assert app.run_controller.shown is not None
        session.run.path.mkdir(parents=True)
        outputs = Standardisation(("voltage",), (2.0,), (0.5412,))
        schema = DataSchema("regression", (1,), inputs=Standardisation(("time",), (0.0,), (1.0,)), outputs=outputs)
        write_record(session.run.data_path, DataRecord(data=schema))
        assert "targets" not in [fact.label for fact in facts_of(app.run_controller.shown, Load(), Phase.RUNNING)]
        session.emit(progress(1), Evaluated(evaluation(Settings(), 1), (), best=True))
        await session.wait_until_shown(app, pilot)
        unit = Fact("targets", "standardised; standard deviation 0.541 for voltage")
        assert unit in facts_of(app.run_controller.shown, Load(), Phase.RUNNING)


async def test_start_and_finish(make: Make, sessions: FakeSessions) -> None:
    app = make(change(Settings(), {"training.seed": 7}))
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await pilot.press("f5")
        assert phase(app) is Phase.STARTING
        assert app.run_controller.shown is not None
        assert facts_of(app.run_controller.shown, Load(), Phase.STARTING) == [Fact("starting", "loading PyTorch…")]
        app.run_controller.show_run()
        assert app.work_tab.curves.chart._data.empty == "Starting: loading PyTorch…"
        await pilot.pause()
        session = running(sessions)
        session.emit(*(progress(i) for i in range(1, 101)))
        await session.wait_until_shown(app, pilot)
        assert [settings.training.seed for settings, _ in sessions.started] == [7]
        assert phase(app) is Phase.RUNNING
        assert app.run_controller.shown.iteration == 100
        assert app.run_controller.shown.speeds == pytest.approx((10, 40))
        assert app.run_controller.shown.remaining == pytest.approx((5000 - 100) / 10)
        test = evaluation(session.settings, 100, "test")
        session.end(Finished(100, "iterations", 10.0, test, views(session.settings)))
        await session.wait_until_ended(app, pilot)
        assert phase(app) is Phase.IDLE
        assert app.run_controller.shown_split == "test"
        assert app.query_one(TopBar).state == ("Finished", session.run_id)
        assert "Test: loss 0.50 ± 0.10 (10-shot, 2 steps, 100 test tasks)" in notes(app)[-1]


async def test_start_is_shown_and_can_be_stopped(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        sessions.starting = FakeStartingRun()
        await pilot.press("f5")
        await asyncio.to_thread(sessions.starting.measuring.wait)
        app.run_controller.update()
        await pilot.pause()
        assert phase(app) is Phase.STARTING
        assert app.top_bar.state[0] == "Measuring engines: loop (2 of 2)…"
        assert app.work_tab.curves.chart._data.empty == "Starting: measuring engines: loop (2 of 2)…"
        assert "To validate now, press F8." in shown_adaptation(app)
        await pilot.press("f7")
        await wait_until_noticed(app, pilot)
        assert phase(app) is Phase.IDLE
        assert app.top_bar.state[0] == "Stopped"
        assert notes(app) == ["Stopped before training began."]
        assert "This run ended before its first validation" in shown_adaptation(app)
        assert "F8" not in shown_adaptation(app)


def shown_adaptation(app: MetatuiApp) -> str:
    return app.screen.query_one(AdaptationPanel)._empty


async def test_progress_of_evaluations_is_in_the_top_bar(
    make: Make, sessions: FakeSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("metatui.runs.evaluation_clock.time", SimpleNamespace(monotonic=lambda: now))
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        session = await start_run(app, pilot, sessions)
        session.emit(progress(5000), Evaluating(5000, "val", 40, 100))
        await session.wait_until_shown(app, pilot)
        assert app.top_bar.state[:2] == ("Running", "5,000 of 5,000")  # a short validation
        now += 20
        session.emit(Evaluating(5000, "val", 60, 100))
        await session.wait_until_shown(app, pilot)
        assert app.top_bar.state[:2] == ("Validating", "60 of 100 tasks, 0:40 left")
        session.emit(Evaluating(5000, "test", 120, 600))
        await session.wait_until_shown(app, pilot)
        assert app.top_bar.state[:2] == ("Testing", "120 of 600 tasks")


async def test_second_start_is_refused(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await pilot.press("f5", "f5")
        await pilot.pause()
        assert "stop it (F7) or detach it (d) first" in notes(app)[-1]
        assert len(sessions.started) == 1
        running(sessions).end()
        await running(sessions).wait_until_ended(app, pilot)


@pytest.mark.parametrize(("packing", "before"), [([], Phase.STARTING), ([(3072, 5000)], Phase.PACKING)])
async def test_pause_while_the_run_starts(
    packing: list[tuple[int, int]],
    before: Phase,
    make: Make,
    sessions: FakeSessions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The run responds to commands only after its first meta-step, which takes long.
    monkeypatch.setattr(FakeSession, "submit", lambda session, command: session.commands.append(command))
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        sessions.packing = packing
        await pilot.press("f5")
        await asyncio.to_thread(sessions.packed.wait)
        app.run_controller.update()
        await pilot.press("f6")
        assert phase(app) is before
        sessions.may_train.set()
        assert app.run_controller.client.receiver is not None
        await asyncio.to_thread(app.run_controller.client.receiver.opened.wait)
        session = running(sessions)
        await session.wait_until_shown(app, pilot)
        assert session.commands == [Pause()]
        assert phase(app) is Phase.PAUSING
        session.emit(Paused(0))
        await session.wait_until_shown(app, pilot)
        assert phase(app) is Phase.PAUSED
        session.end()
        await session.wait_until_ended(app, pilot)


async def test_pause_while_the_run_starts_can_be_taken_back(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        sessions.packing = [(3072, 5000)]
        await pilot.press("f5")
        await asyncio.to_thread(sessions.packed.wait)
        app.run_controller.update()
        labels = []
        for _ in range(3):
            await pilot.press("f6")
            await pilot.pause()
            labels.append("F6 Continue" in app.screen.query_one(KeyBar).render().plain)
        assert labels == [True, False, True]
        assert phase(app) is Phase.PACKING
        await pilot.press("f6")
        sessions.may_train.set()
        assert app.run_controller.client.receiver is not None
        await asyncio.to_thread(app.run_controller.client.receiver.opened.wait)
        session = running(sessions)
        await session.wait_until_shown(app, pilot)
        assert session.commands == [Pause(), Resume(), Pause(), Resume()]
        assert phase(app) is Phase.RUNNING
        await pilot.press("f7")
        await session.wait_until_ended(app, pilot)


async def test_commands_and_their_effects(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        session = await start_run(app, pilot, sessions)
        await pilot.press("f6")
        await session.wait_until_shown(app, pilot)
        assert phase(app) is Phase.PAUSED
        assert app.top_bar.state[0] == "Paused"
        assert app.top_bar.render().spans[-1].style == "$text-warning"
        await pilot.press("p")
        await session.wait_until_shown(app, pilot)
        assert phase(app) is Phase.RUNNING
        assert app.top_bar.render().spans[-1].style == "$text-success"
        session.emit(Warned(0, "metrics.jsonl cannot be written: the disk is full"), Paused(0))
        await session.wait_until_shown(app, pilot)
        assert app.top_bar.state[0] == "Paused: its files cannot be written"
        session.emit(Resumed(0))
        await session.wait_until_shown(app, pilot)
        assert app.top_bar.state[0] == "Running"
        await pilot.press("f8", "f9")
        await session.wait_until_shown(app, pilot)
        assert app.run_controller.shown is not None
        assert len(app.run_controller.shown.views) == 3
        assert (app.work_tab.adaptation.shown_task, app.run_controller.shown_split) == (0, "val")
        await pilot.press("f7")
        assert phase(app) is Phase.STOPPING
        await session.wait_until_ended(app, pilot)
        assert session.commands == [Pause(), Resume(), Evaluate(), Checkpoint(), Stop("stopped")]
        texts = [line.text for line in app.run_controller.shown.journal]
        assert texts[-1] == "Stopped and saved"
        assert app.run_controller.shown.status == "Stopped"


async def test_live_setting_in_the_form(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        session = await start_run(app, pilot, sessions)
        assert (await app.form.reveal("task.source")).control.disabled
        field = (await app.form.reveal("algorithm.outer_lr")).control
        assert isinstance(field, Input)
        field.focus()
        field.value = "0.01"
        await pilot.press("enter")
        await session.wait_until_shown(app, pilot)
        assert session.commands == [Change("algorithm.outer_lr", 0.01)]
        assert app.run_controller.shown is not None
        assert app.run_controller.shown.settings.algorithm.outer_lr == 0.01
        assert app.run_controller.shown.journal[-1].text == "Outer learning rate changed from 0.001 to 0.01"
        session.end()
        await session.wait_until_ended(app, pilot)
        assert not (await app.form.reveal("task.source")).control.disabled


async def test_only_changes_are_drawn_below_a_dialog(
    make: Make, sessions: FakeSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[object] = []
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        session = await start_run(app, pilot, sessions)
        session.emit(*map(progress, range(1, 21)))
        await session.wait_until_shown(app, pilot)
        await pilot.press("f4")
        await pilot.pause()
        assert isinstance(app.screen, LiveScreen)
        monkeypatch.setattr(app, "_display", lambda screen, update: drawn.append(update))
        for first in (21, 41):
            drawn.clear()
            session.emit(*map(progress, range(first, first + 20)))
            await session.wait_until_shown(app, pilot)
            assert drawn
            assert all(isinstance(update, ChopsUpdate) for update in drawn)  # a LayoutUpdate is the whole screen
        monkeypatch.undo()
        session.end(Finished(60, "iterations", 1.0, None))
        await session.wait_until_ended(app, pilot)


async def test_live_setting_in_the_dialog(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        session = await start_run(app, pilot, sessions)
        await press_together(pilot, "f4", "ctrl+u", *"wrong")
        await pilot.pause()
        assert isinstance(app.screen, LiveScreen)
        field = app.screen.query_one("#field-algorithm-inner_lr Input", Input)
        assert field.value == "wrong"
        await pilot.press("enter")
        assert isinstance(app.screen, LiveScreen)
        field.value = "0.5"
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert session.commands == [Change("algorithm.inner_lr", 0.5)]
        session.end()
        await session.wait_until_ended(app, pilot)


async def test_invalid_field_refuses_the_start(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        field = (await app.form.reveal("evaluation.tasks")).control
        assert isinstance(field, Input)
        field.value = "1"
        await pilot.pause()
        await pilot.press("f5")
        await pilot.pause()
        assert sessions.started == []
        assert "Must be a whole number from 2 to 100,000." in notes(app)[-1]
        assert app.focused is field
        field.value = "2"
        await pilot.pause()
        await pilot.press("f5")
        await pilot.pause()
        assert sessions.started[0][0].evaluation.tasks == 2
        running(sessions).end()
        await running(sessions).wait_until_ended(app, pilot)


async def test_only_relevant_fields_are_shown(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        assert not (await app.form.reveal("task.ways")).display
        source = (await app.form.reveal("task.source")).control
        assert isinstance(source, Choice)
        source.value = "glyphs"
        await pilot.pause()
        assert (await app.form.reveal("task.ways")).display
        assert not (await app.form.reveal("model.hidden")).display


async def test_failed_start_is_reported(make: Make, sessions: FakeSessions) -> None:
    sessions.error = BadInput("compute.device is 'cuda', but must be one of cpu")
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await pilot.press("f5")
        await wait_until_noticed(app, pilot)
        assert phase(app) is Phase.IDLE
        assert str(sessions.error) in notes(app)
        assert app.run_controller.shown is not None
        assert app.run_controller.shown.status == "Failed"
        assert not (await app.form.reveal("task.source")).control.disabled
        sessions.error = None
        await pilot.press("f5")
        await pilot.pause()
        running(sessions).end()
        await running(sessions).wait_until_ended(app, pilot)
        assert len(sessions.started) == 2


async def test_internal_error_does_not_end_the_app(make: Make, sessions: FakeSessions) -> None:
    sessions.error = ZeroDivisionError("no")
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await pilot.press("f5")
        await wait_until_noticed(app, pilot)
        assert "ZeroDivisionError" in notes(app)[0]
        assert app.is_running


async def test_warnings_and_failures_are_in_the_journal(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("f5")
        await pilot.pause()
        session = running(sessions)
        session.end(Warned(3, "the data set is small"), Failed(0, "The loss is not finite: lower algorithm.inner_lr"))
        await session.wait_until_ended(app, pilot)
        assert app.run_controller.shown is not None
        assert [line.tone for line in app.run_controller.shown.journal][-2:] == ["warning", "error"]
        assert app.screen.query_one(RunNumbers).render_line(0).text.startswith("The loss is not finite: lower")
        assert chart_of(app.run_controller.shown, CurveOptions(), 80).empty == ENDED


async def test_start_clears_notifications(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        app.notify("An old note.")
        await pilot.press("f5")
        await pilot.pause()
        assert notes(app) == []
        await pilot.press("f5", "f5")
        await pilot.pause()
        assert len(notes(app)) == 1
        running(sessions).end()
        await running(sessions).wait_until_ended(app, pilot)


async def test_only_requested_checkpoints_are_announced(
    make: Make, sessions: FakeSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        session = await start_run(app, pilot, sessions)
        await pilot.press("f9")
        await session.wait_until_shown(app, pilot)
        assert notes(app) == ["Checkpoint saved after 0 meta-steps."]
        monkeypatch.setattr(session, "submit", lambda command: None)  # the app leaves the run before it has saved
        await pilot.press("f9", "d")
        session = await start_run(app, pilot, sessions)
        session.emit(Checkpointed(5, "last"))
        await session.wait_until_shown(app, pilot)
        assert not notes(app)
