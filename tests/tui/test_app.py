"""Tests of using the app by keyboard: tabs, panes, runs, presets, help, command palette and themes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.events import Key
from textual.geometry import Offset
from textual.widgets import Input
from textual.widgets._toast import Toast, ToastHolder

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Finished
from metatui.runs.storage.journal import JournalWriter
from metatui.runs.storage.lock import RunLock
from metatui.runs.storage.metrics import MetricsWriter
from metatui.tui.app import MetatuiApp
from metatui.tui.colors.themes import CYCLE
from metatui.tui.controllers.analysis import AnalysisController
from metatui.tui.controllers.background import BackgroundController
from metatui.tui.controllers.hints import HintsController
from metatui.tui.controllers.presets import PresetsController
from metatui.tui.controllers.run import RunController
from metatui.tui.controllers.runs import RunsController
from metatui.tui.keyboard.actions import ACTIONS, ADAPTATION, CHARTS, TABS, AppContext, Phase, Tab
from metatui.tui.launch import make_app, opening_settings
from metatui.tui.model.run_model import RunModel
from metatui.tui.preferences import PaneSizes, load
from metatui.tui.screens.main.header_footer import KeyBar, key_bar_actions
from metatui.tui.screens.main.work import PANES, PaneStrip, WorkTab
from metatui.utils import paths
from metatui.utils.errors import BadInput
from tests.tui.fakes import FakeSessions, progress, saved_run, wait_for_workers

SIZE = (120, 40)
Make = Callable[..., MetatuiApp]
GLYPHS = change(Settings(), {"task.source": "glyphs", "task.shots": 1})


def current_tab(app: MetatuiApp) -> str:
    """Return `app.tab`. Without this function, mypy would assume that the value never changes."""
    return app.tab


def test_actions_have_one_method_and_unique_keys() -> None:
    controllers = (RunController, BackgroundController, RunsController, PresetsController, AnalysisController)
    owners = (WorkTab, *controllers, HintsController)
    for action in ACTIONS:
        doing = [owner for owner in owners if hasattr(owner, f"action_{action.id}")]
        assert len(doing) == 1 or (not doing and hasattr(MetatuiApp, f"action_{action.id}"))
        assert action.help.endswith(".")
    for tabs in (("work", None), ("runs",), ("presets",)):  # the keys of a list replace those of all tabs
        keys = [key for action in ACTIONS if action.tab in tabs for key in action.keys.split(",")]
        assert len(keys) == len(set(keys))


def test_actions_of_all_tabs_have_keys_in_text_fields() -> None:
    for action in ACTIONS:
        if action.tab is None and not action.id.startswith("tab_"):
            assert any(key.startswith("ctrl+") or (key[0] == "f" and key[1:].isdigit()) or key == "escape"
                       for key in action.keys.split(","))  # fmt: skip


@pytest.mark.parametrize("tab", TABS)
def test_key_bar_has_only_possible_actions(tab: Tab) -> None:
    for phase in Phase:
        context = AppContext(phase=phase, tab=tab, row=True)
        assert key_bar_actions(context)
        assert not any(action.refusal_reason(context) for action in key_bar_actions(context))


async def test_key_bar_fits_the_width(make: Make) -> None:
    app = make()
    async with app.run_test(size=(200, 24)) as pilot:
        for width in (200, 120, 80, 40):
            await pilot.resize_terminal(width, 24)
            await pilot.pause()
            bar = app.query_one(KeyBar)
            assert bar.size.width == width
            assert bar.render().cell_length <= width
            assert "Help" in bar.render().plain
            assert "Quit" in bar.render().plain
        for width in (80, 120):
            await pilot.resize_terminal(width, 24)
            for group, first, second in ((ADAPTATION, "^R Explore", "[ ] Step"), (CHARTS, "Enter Values", "y Log")):
                for undo in ("", "r Undo  "):
                    bar.context = AppContext(
                        phase=Phase.RUNNING, group=group, curves=True, studied=1, undoable=bool(undo)
                    )
                    await pilot.pause()
                    text = bar.render().plain
                    assert f"F6 Pause  F7 Stop  F4 Change  {undo}{first} " in text
                    assert (f"{first}  {second}" in text) == (not undo or width > 80)
                    assert text.endswith("^O Pane  F1 Help  ^Q Quit ")
        bar.context = AppContext(phase=Phase.RUNNING, group=ADAPTATION, curves=True, studied=1)
        for width in range(62, 74, 2):  # a pair of keys is shown as a whole
            await pilot.resize_terminal(width, 24)
            await pilot.pause()
            assert ("[" in bar.render().plain) == ("[ ] Step " in bar.render().plain)
        await pilot.resize_terminal(80, 24)
        bar.context = AppContext(tab="runs", row=True)
        await pilot.pause()
        assert bar.render().plain.startswith(" Enter Open  Space Mark  c Compare  d Delete  g Report ")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_keyboard_reaches_every_pane(make: Make, sessions: FakeSessions, size: tuple[int, int]) -> None:
    app = make()
    async with app.run_test(size=size) as pilot:
        await pilot.press("ctrl+o", "f3")
        await pilot.pause()
        assert [node.id for node in app.work_tab.query(".pane") if node.is_on_screen] == ["about"]
        await pilot.press("f3", "f5")
        await pilot.pause()
        panes = [pane for pane in PANES if pane != "curves" or size[0] > 80]
        for pane in (*panes[2:], *panes[:2]):
            await pilot.press("ctrl+o")
            await pilot.pause()
            assert app.work_tab.pane == pane
            assert app.focused is not None
            assert app.focused.is_on_screen
            await pilot.press("f3")
            await pilot.pause()
            shown = [node.id for node in app.work_tab.query(".pane") if node.is_on_screen]
            assert shown == {"settings": ["form"], "run": ["run", "curves"]}.get(pane, [pane])
            await pilot.press("escape")
            await pilot.pause()
        app.work_tab.go_to("journal")
        for pane in ("settings", "journal"):  # the second press returns
            await pilot.press("ctrl+l")
            await pilot.pause()
            assert app.work_tab.pane == pane
            assert shows_form(app) == (pane == "settings")


async def test_keys_in_fields_are_text(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        field = (await app.form.reveal("task.shots")).control
        assert isinstance(field, Input)
        bar = app.query_one(KeyBar)
        bar.context = AppContext(phase=Phase.RUNNING, undoable=True)
        assert " r Undo " in bar.render().plain
        field.focus()
        await pilot.pause()
        assert " ^_ Undo  F8 Validate  F2 Save preset " in bar.render().plain
        await pilot.press("2")
        assert field.value == "2"
        assert current_tab(app) == "work"
        await pilot.press("q")
        assert not app._notifications
        await pilot.press("ctrl+c")
        assert next(iter(app._notifications)).message == "Press ^Q or F10 to quit."
        app.clear_notifications()
        await pilot.press("escape", "q")
        assert next(iter(app._notifications)).message == "Press ^Q or F10 to quit."
        await pilot.press("2")
        assert current_tab(app) == "runs"
        await pilot.press("ctrl+n")
        assert current_tab(app) == "presets"


async def test_resize(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        for size in ((80, 24), (20, 5), (200, 60), (1, 1), (120, 24), (80, 50)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        assert app.is_running


def shows_form(app: MetatuiApp) -> bool:
    """Return whether the form is visible. Without this function, mypy would assume that the value never changes."""
    return app.form.is_on_screen


async def test_pane_sizes_and_folding_are_remembered(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("f5")
        await pilot.pause()
        assert not shows_form(app)
        curves, usual = app.work_tab.curves, app.work_tab.curves.region
        await pilot.press("greater_than_sign")
        await pilot.pause()
        assert curves.region.width == usual.width - 4
        edge = Offset(usual.x + 20, usual.bottom - 1)
        await pilot.mouse_down(offset=edge)
        await pilot.hover(offset=edge - Offset(0, 3))
        await pilot.mouse_up(offset=edge - Offset(0, 3))
        await pilot.pause()
        assert curves.region.height == usual.height - 4
        changed = curves.region
        await pilot.press("ctrl+l")
        await pilot.pause()
        assert shows_form(app)
        assert sessions.session is not None
        sessions.session.end()
        await sessions.session.wait_until_ended(app, pilot)
    again = make()
    async with again.run_test(size=SIZE) as pilot:
        await pilot.press("f5")
        await pilot.pause()
        assert shows_form(again)
        await pilot.press("f")  # the form is visible, but has lost the focus
        assert shows_form(again)
        await pilot.press("ctrl+l")
        await pilot.pause()
        assert again.work_tab.curves.region == changed
        await pilot.press("0")
        await pilot.pause()
        assert again.work_tab.curves.region == usual
        assert (load().fold_form, load().panes) == (True, PaneSizes())


@pytest.mark.parametrize(("before", "after"), [((80, 24), (120, 40)), ((120, 40), (80, 24))])
async def test_screen_below_a_dialog_follows_a_resize(
    make: Make, before: tuple[int, int], after: tuple[int, int]
) -> None:
    app = make()
    async with app.run_test(size=before) as pilot:
        await pilot.press("f1")
        await pilot.resize_terminal(*after)
        await pilot.pause()
        below = lines(app)
        await pilot.press("escape")
        await pilot.pause()
        assert len(app.screen_stack) == 1
        assert below == lines(app)
        assert any("Settings" in line for line in below)
        assert (len(below), len(below[0])) == after[::-1]


def lines(app: MetatuiApp) -> list[str]:
    """Return the rows of the bottom screen of the screen stack, which dialogs may cover."""
    return [strip.text for strip in app.screen_stack[0]._compositor.render_strips()]


async def test_resumed_run_keeps_its_curves(make: Make, sessions: FakeSessions, runs_dir: Path) -> None:
    saved_run(runs_dir, Settings(), name="maml-sinusoid-20260101-000000", steps=30, test=False)
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("r")
        while sessions.session is None:
            await pilot.pause()
        await sessions.session.wait_until_shown(app, pilot)
        assert sessions.resumed == ["maml-sinusoid-20260101-000000"]
        assert app.run_controller.client.phase is Phase.RUNNING
        assert app.run_controller.shown is not None
        assert app.run_controller.shown.iteration == 30
        chart = app.work_tab.curves.chart
        await pilot.press("g")
        assert chart.has_cursor
        await pilot.pause()
        assert "Hide cursor" in app.query_one(KeyBar).render().plain
        await pilot.press("left", "escape")
        await pilot.pause()
        assert not chart.has_cursor
        assert "Hide cursor" not in app.query_one(KeyBar).render().plain
        sessions.session.end()
        await sessions.session.wait_until_ended(app, pilot)


async def test_first_three_marked_runs_are_shown_together(make: Make, runs_dir: Path) -> None:
    for number in range(4):
        settings = change(Settings(), {"evaluation.seed": number // 2})
        saved_run(runs_dir, settings, name=f"maml-sinusoid-2026010{number}-000000", steps=3)
    app = make()
    async with app.run_test(size=(200, 60)) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        for _ in range(4):
            await pilot.press("space", "down")
            await wait_for_workers(app, pilot)
        assert len(app.runs_tab.marked) == 4
        assert [len(runs.views) for runs in app.run_controller.side_by_side] == [3, 3, 3]
        assert len({runs.colour for runs in app.run_controller.side_by_side}) == 3
        labels = [runs.label for runs in app.run_controller.side_by_side]
        assert labels == app.runs_tab.marked[:3], "their algorithms are the same"
        assert [run.status for run in app.run_controller.shown_runs] == ["adaptation"] * 3
        await pilot.press("1")
        await pilot.pause()
        assert "The marked runs on different held-out test tasks" in "\n".join(lines(app))
        model = RunModel(Settings(), app.runs_tab.marked[0], "Finished")
        app.run_controller.shown = model  # the run that is open before runs are marked
        assert [run.status for run in app.run_controller.shown_runs] == ["finished", "adaptation", "adaptation"]


async def test_theme_is_saved(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        first = app.theme
        await pilot.press("ctrl+t")
        await pilot.pause()
        assert app.theme != first
    assert make().theme == app.theme
    paths.app_state_file().write_text("theme = ")
    broken = make()
    assert broken.theme == first
    async with broken.run_test(size=SIZE, notifications=True) as pilot:
        await pilot.pause()
        assert "it is not a TOML file: " in next(iter(broken._notifications)).message
        await pilot.press("ctrl+t")
        await pilot.pause()
        assert any("was renamed to app.toml.bad" in notice.message for notice in broken._notifications)


async def test_preferences_that_cannot_be_saved_are_reported(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        paths.app_state_file().unlink()
        paths.app_state_file().mkdir()
        await pilot.press("ctrl+t")
        await pilot.pause()
        assert next(iter(app._notifications)).message.startswith("The preferences could not be saved: ")
        assert app.theme == CYCLE[1], "the theme has changed nevertheless"


def test_unknown_theme_is_bad_input(runs_dir: Path) -> None:
    with pytest.raises(BadInput, match="theme is 'pink', but must be one of"):
        make_app(runs_dir=runs_dir, theme="pink")


def test_opening_settings_need_no_data() -> None:
    settings, name = opening_settings()
    assert name in ("quick", "sinusoid-maml", None)
    assert settings.task.source == "sinusoid"


async def test_messages_are_spelled_out_in_ascii(make: Make) -> None:
    app = make(ascii=True)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        app.notify("2.01 ± 0.27, α = 0.01")
        await pilot.pause()
        text = "\n".join(lines(app))
        assert "2.01 +/- 0.27, alpha = 0.01" in text
        assert "| 2.01" in text, "the border"
        assert "?" not in text


async def test_ascii_option_draws_only_ascii(make: Make, runs_dir: Path) -> None:
    saved_run(runs_dir, GLYPHS, name="maml-glyphs-20260102-000000", steps=40)
    app = make(GLYPHS, ascii=True)
    async with app.run_test(size=SIZE) as pilot:
        for keys in (["2"], ["enter"], ["f3"], ["f1"], ["escape", "3"]):
            await pilot.press(*keys)
            await wait_for_workers(app, pilot)
            drawn = "".join(strip.text for strip in app.screen._compositor.render_strips())
            assert drawn.isascii(), sorted({char for char in drawn if not char.isascii()})


async def test_mouse_on_tabs_and_key_bar(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.click("#top-bar", offset=(20, 0))
        await wait_for_workers(app, pilot)
        assert current_tab(app) == "runs"
        await pilot.click("#top-bar", offset=(12, 0))
        await pilot.pause()
        assert current_tab(app) == "work"
        await pilot.click("#key-bar", offset=(3, 0))
        await pilot.pause()
        assert sessions.session is not None
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        strip = app.query_one(PaneStrip)
        await pilot.click(PaneStrip, offset=(1 + strip.render().plain.index("Adaptation"), 0))
        await pilot.pause()
        assert app.work_tab.pane == "adaptation"
        sessions.session.end()
        await sessions.session.wait_until_ended(app, pilot)


async def test_live_run_that_is_not_followed_is_read_again(make: Make, runs_dir: Path) -> None:
    run = saved_run(runs_dir, Settings(), name="maml-sinusoid-20260101-000000", steps=30)
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert app.run_controller.shown is not None
        app.run_controller.shown.status = "Running"
        metrics = MetricsWriter(run.metrics_path, after=30)
        metrics.append(progress(31))
        metrics.close()
        await app.runs.read_again()
        assert app.run_controller.shown.iteration == 31


async def test_run_that_another_process_resumed_is_read_again(
    make: Make, sessions: FakeSessions, runs_dir: Path
) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("f5")
        await pilot.pause()
        session = sessions.session
        assert session is not None
        session.end(Finished(20, "stopped", 2.0, None))
        await session.wait_until_ended(app, pilot)
        assert app.top_bar.state[0] == "Stopped"
        saved_run(runs_dir, Settings(), name="elsewhere", steps=20).path.rename(session.run.path)
        await app.runs.read_again()
        assert app.top_bar.state[0] == "Stopped"  # the journal has not changed since the run was shown

        journal = JournalWriter(session.run.journal_path)
        journal.record("started", 20, device="cpu", device_name="a CPU", engine="loop", parameters=1)
        journal.close()
        lock = RunLock(session.run.lock_path)
        await app.runs.read_again()
        assert app.run_controller.shown is not None
        assert app.run_controller.shown.status == "Running"
        assert app.top_bar.state == ()
        lock.release()
        await app.runs.read_again()
        assert app.run_controller.shown.status == "Interrupted"
        journal = JournalWriter(session.run.journal_path)
        journal.record("finished", 30, reason="iterations")
        journal.close()
        await app.runs.read_again()
        assert app.run_controller.shown.status == "Finished"


async def test_opened_run_is_visible_in_a_small_terminal(make: Make, runs_dir: Path) -> None:
    saved_run(runs_dir, Settings(), name="maml-sinusoid-20260101-000000", steps=30)
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert app.work_tab.pane == "run"
        assert app.work_tab.query_one("#run").is_on_screen


async def test_marked_runs_are_visible_in_a_small_terminal(make: Make, runs_dir: Path) -> None:
    saved_run(runs_dir, Settings(), name="maml-sinusoid-20260101-000000", steps=30)
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("space")
        await wait_for_workers(app, pilot)
        await pilot.press("1")
        await pilot.pause()
        assert app.work_tab.pane == "adaptation"
        assert app.focused is app.work_tab.adaptation
        assert app.work_tab.adaptation.is_on_screen


async def test_run_of_the_work_tab_is_selected_until_the_cursor_moves(
    make: Make, sessions: FakeSessions, runs_dir: Path
) -> None:
    names = [f"maml-sinusoid-2026010{number}-000000" for number in (1, 3)]
    for name in names:
        saved_run(runs_dir, Settings(), name=name)
    app = make()

    def selected() -> str:
        assert app.runs_tab.selected is not None
        return app.runs_tab.selected.id

    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("down")
        assert selected() == names[0]
        await pilot.press("f5", "2")
        while sessions.session is None:
            await pilot.pause()
        session = sessions.session
        saved_run(runs_dir, Settings(), name=session.run_id, test=False)
        await session.wait_until_shown(app, pilot)
        while selected() != session.run_id:
            await pilot.pause()
        await pilot.press("down")
        assert selected() == names[1]
        app.runs_tab.go_to(session.run_id)
        await wait_for_workers(app, pilot)
        assert selected() == names[1], "the user has moved the cursor"
        await pilot.press("1", "f7")
        await session.wait_until_ended(app, pilot)
        await pilot.press("2", "r")
        await wait_for_workers(app, pilot)
        assert sessions.resumed == [session.run_id]
        assert [note.message for note in app._notifications] == [f"Resuming {session.run_id}."]
        assert sessions.session is not session
        sessions.session.end()
        await sessions.session.wait_until_ended(app, pilot)


async def test_shown_run_that_was_stopped_is_resumed(make: Make, sessions: FakeSessions, runs_dir: Path) -> None:
    app = make()

    def last_note() -> str:
        return [note.message for note in app._notifications][-1]

    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await pilot.press("f5")
        while sessions.session is None:
            await pilot.pause()
        session = sessions.session
        await session.wait_until_shown(app, pilot)
        saved_run(runs_dir, Settings(), name=session.run_id, test=False)
        await pilot.press("f7")
        await session.wait_until_ended(app, pilot)
        assert last_note() == "Stopped. F6 resumes it."
        assert "F6 Resume" in app.query_one(KeyBar).render().plain
        await pilot.press("f7")
        assert last_note() == "No run is training here. F6 resumes the shown run, and F5 starts a new one."
        await pilot.press("r")
        assert "F6 resumes the shown run" in last_note()
        await pilot.press("f6")
        await wait_for_workers(app, pilot)
        assert sessions.resumed == [session.run_id]
        assert last_note() == f"Resuming {session.run_id}."
        sessions.session.end()
        await sessions.session.wait_until_ended(app, pilot)
        assert "F6" not in app.query_one(KeyBar).render().plain, "the run has finished"


async def test_text_right_after_tab_goes_to_the_next_field(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        first = (await app.form.reveal("task.shots")).control
        assert isinstance(first, Input)
        first.focus()
        await pilot.pause()
        before = first.value
        app.post_message(Key("tab", None))
        app.post_message(Key("7", "7"))
        await pilot.pause()
        assert first.value == before
        second = app.focused
        assert isinstance(second, Input)
        assert second is not first
        assert second.value == "7"
        app.post_message(Key("shift+tab", None))
        app.post_message(Key("9", "9"))
        await pilot.pause()
        assert first.value == "9"


async def test_first_dialogs_need_no_other_style_sheets(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await app.finish_start()
        known = set(app.stylesheet.source)
        await pilot.press("f5", "f4")
        assert type(app.screen).__name__ == "LiveScreen"
        await pilot.press("escape", "ctrl+p")
        assert type(app.screen).__name__ == "Palette"
        assert set(app.stylesheet.source) == known


async def test_notifications_leave_the_left_column_and_the_key_bar_readable(make: Make) -> None:
    app = make()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        app.notify("word " * 21)
        await pilot.pause()
        toast = app.screen.query_one(Toast).region
        assert toast.x >= app.form.region.right, "the column of the form or of the journal"
        assert toast.height == 2
        for size in ((80, 24), (40, 20)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            toast = app.screen.query_one(Toast).region
            assert toast.x >= 0
            assert toast.right <= size[0]
            assert toast.bottom <= app.screen.query_one(KeyBar).region.y
            assert app.focused
            assert not toast.overlaps(app.focused.region)


async def test_a_notification_replaces_the_others(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        for number in range(5):
            app.notify(f"first {number}")
            app.notify(f"second {number}")
            await pilot.pause()
            assert [note.message for note in app._notifications] == [f"second {number}"]
            assert [str(toast.render()) for toast in app.screen.query(Toast)] == [f"second {number}"]
            assert len(app.screen.query(ToastHolder)) == 1
        app.clear_notifications()
        await pilot.pause()
        assert not app.screen.query(ToastHolder)
