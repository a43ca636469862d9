"""Tests of the suite screen: lists, keys and messages. A fake replaces the function that starts suites."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from metatui.runs.storage.lock import RunLock
from metatui.runs.storage.store import RunStore
from metatui.runs.suites import Suite, SuiteManifest, background, user_dir
from metatui.tui.app import MetatuiApp
from metatui.tui.keyboard.actions import with_keys
from metatui.tui.screens.compare.screen import CompareScreen
from metatui.tui.screens.dialogs.confirm import ConfirmScreen
from metatui.tui.screens.dialogs.prompt import AskScreen
from metatui.tui.screens.suite.progress import Description, SuiteProgress, bar
from metatui.tui.screens.suite.screen import BUSY, SuiteScreen
from metatui.tui.terminal.symbols import GLYPHS, Symbols
from metatui.tui.widgets.key_line import KeyLine
from metatui.utils.errors import BadInput
from tests.tui.fakes import saved_run
from tests.tui.screens.conftest import ScreenApp, text_of
from tests.tui.screens.fake_helper import FakeHelper
from tests.tui.sizes import SIZES
from tests.tui.suites import TEXT, make_suite, write_suite

pytestmark = pytest.mark.usefixtures("fake_helper")


@pytest.fixture(autouse=True)
def started_suites(monkeypatch: pytest.MonkeyPatch) -> list[Suite]:
    """Replace the function that starts suites, and return the list of suites that the app asked it to start."""
    suites: list[Suite] = []
    monkeypatch.setattr("metatui.tui.screens.suite.screen.POLL_SECONDS", 3600.0)
    monkeypatch.setattr(background, "start", lambda suite, store: suites.append(suite))
    return suites


@pytest.fixture
def store(runs_dir: Path) -> RunStore:
    return RunStore(runs_dir)


def suite_app(store: RunStore, **options: Any) -> ScreenApp:
    return ScreenApp(SuiteScreen(store, lambda: False), **options)


async def opened_screen(pilot: Pilot[Any]) -> SuiteScreen:
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, SuiteScreen)
    await wait_for_suites(pilot)
    return screen


async def wait_for_suites(pilot: Pilot[Any]) -> None:
    """Wait until all suites have been read and shown."""
    screen = pilot.app.screen_stack[1]
    assert isinstance(screen, SuiteScreen)
    await screen.workers.wait_for_complete([w for w in screen.workers if w.group == "suites"])
    async with screen._reading:
        pass
    await pilot.pause()


async def poll(pilot: Pilot[Any]) -> None:
    """Reload the selected suite, as the screen's timer does."""
    screen = pilot.app.screen_stack[1]
    assert isinstance(screen, SuiteScreen)
    assert screen.selected is not None
    await screen._refresh(screen.selected)
    await pilot.pause()


async def open_file(pilot: Pilot[Any], path: Path) -> None:
    """Open a suite from its file."""
    await pilot.press("o")
    await pilot.pause()
    pilot.app.screen.query_one(Input).value = str(path)
    await pilot.press("enter")
    screen = pilot.app.screen_stack[1]
    await screen.workers.wait_for_complete([w for w in screen.workers if w.group == "suite-order"])
    await wait_for_suites(pilot)


def keys(screen: SuiteScreen) -> list[str]:
    return [f"{key.key} {key.label}" for key in screen.query_one(KeyLine).keys]


async def test_suites_and_their_runs_are_listed(make: Callable[[], MetatuiApp], store: RunStore) -> None:
    make_suite(store)
    async with make().run_test(size=(120, 40)) as pilot:
        await pilot.press("ctrl+s")
        screen = await opened_screen(pilot)
        listed = text_of(screen, "#suite-list")
        assert "mine 4 of 7 Yours: Waves and glyphs" in listed
        assert "chapter-small 0 of 20 The chapter's comparison, small enough" in listed
        assert "Notes: Small enough for a test. From: a chapter" in text_of(screen, Description)
        assert text_of(screen, SuiteProgress).endswith("4 of 7 runs finished")
        runs = text_of(screen, "#suite-runs")
        assert "waves MAML (seed 0) ━━━━━━━━━━ test loss 0.50 ± 0.10 50 of 50" in runs
        assert "glyphs MAML ━━━─────── stopped, accuracy 51.0 % 66 of 200" in runs
        assert "scratch ────────── waiting no training" in runs
        assert keys(screen)[0] == "F5 Resume"
        await pilot.press("down")
        await wait_for_suites(pilot)
        assert "0 of 63 runs finished" in text_of(screen, SuiteProgress)
        assert keys(screen)[0] == "F5 Start"


async def test_a_suite_is_started_watched_and_compared(store: RunStore, started_suites: list[Suite]) -> None:
    suite, _ = make_suite(store, finished=4, stopped=0)
    async with suite_app(store).run_test(size=(120, 40)) as pilot:
        screen = await opened_screen(pilot)
        await pilot.press("f5")
        await pilot.pause()
        assert isinstance(pilot.app.screen, ConfirmScreen)
        await pilot.press("n")
        assert started_suites == []
        await pilot.press("s")
        await pilot.pause()
        with SuiteManifest(suite, store) as ledger:
            await pilot.press("y")
            await screen.workers.wait_for_complete([w for w in screen.workers if w.group == "suite-order"])
            assert started_suites == [suite]
            await poll(pilot)
            assert keys(screen)[0] == "F7 Stop"
            assert "4 of 7 runs finished, starting the next" in text_of(screen, SuiteProgress)
            for number, planned in enumerate(suite.runs[4:]):
                steps = max(1, planned.iterations)
                run = saved_run(store.root, planned.settings, name=f"new-{number}", steps=steps)
                ledger.add(run)
            lock = RunLock(run.lock_path)
            run.journal_path.unlink()
            await poll(pilot)
            assert "6 of 7 runs finished, 1 training" in text_of(screen, SuiteProgress)
            lock.release()
            run.journal_path.write_text(store.find("new-0").journal_path.read_text())
        assert not isinstance(pilot.app.screen, CompareScreen)
        await poll(pilot)
        compare = pilot.app.screen
        assert isinstance(compare, CompareScreen)
        (asked,) = FakeHelper.made[-1].asked
        assert [each.id for each in asked.args[0]] == ["run-0", "run-1", "run-2", "run-3"]
        assert asked.keywords == {"tasks": 20, "steps": 3, "shots": None, "target": 0.5, "titles": {}}


async def test_a_stopped_suite_names_its_failures(store: RunStore) -> None:
    suite = write_suite()
    async with suite_app(store).run_test(size=(120, 40)) as pilot:
        screen = await opened_screen(pilot)
        with SuiteManifest(suite, store) as ledger:
            await poll(pilot)
            ledger.failed(suite.runs[0], "there is no such device")
        await poll(pilot)
        state = text_of(screen, "#suite-state")
        failure = "waves: MAML (seed 0) failed: there is no such device."
        assert state == f"The suite has stopped. Its runs are saved, and F5 resumes it. {failure}"


async def test_refused_actions(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write_suite()

    def refused(suite: Suite, store: RunStore) -> None:
        raise BadInput("suite 'mine' is being run by process 7")

    monkeypatch.setattr(background, "start", refused)
    async with suite_app(store).run_test(size=(120, 40)) as pilot:
        screen = await opened_screen(pilot)
        await pilot.press("x")
        assert text_of(screen, "#suite-state") == "The suite could not be stopped: the suite is not running."
        await pilot.press("c")
        assert "Comparing waves needs two finished runs, but no run is finished." in text_of(screen, "#suite-state")
        await pilot.press("f5")
        await pilot.pause()
        await pilot.press("y")
        await screen.workers.wait_for_complete([w for w in screen.workers if w.group == "suite-order"])
        await pilot.pause()
        assert "Not started: suite 'mine' is being run by process 7." in text_of(screen, "#suite-state")
        screen._training = lambda: True
        await pilot.press("f5")
        await pilot.pause()
        assert text_of(screen, "#suite-state") == with_keys(BUSY)


async def test_a_single_finished_run_is_not_compared(store: RunStore) -> None:
    make_suite(store, finished=1)
    async with suite_app(store).run_test(size=(120, 40)) as pilot:
        screen = await opened_screen(pilot)
        await pilot.press("c")
        text = "Comparing waves needs two finished runs, but 1 run is finished."
        assert text_of(screen, "#suite-state") == text
        assert FakeHelper.made == []


async def test_the_selected_run_selects_the_comparison(store: RunStore) -> None:
    make_suite(store, finished=6)
    async with suite_app(store).run_test(size=(80, 24)) as pilot:
        await opened_screen(pilot)
        await pilot.press("enter", "down", "down", "down", "down", "enter")
        await pilot.pause()
        (asked,) = FakeHelper.made[-1].asked
        assert [each.id for each in asked.args[0]] == ["run-4", "run-5"]
        assert asked.keywords["tasks"] is None


async def test_a_suite_from_another_file(store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.toml").write_text(TEXT.replace("Waves and glyphs", "Of another folder"))
    (tmp_path / "bad.toml").write_text("compare = 1")
    async with suite_app(store).run_test(size=(120, 40)) as pilot:
        screen = await opened_screen(pilot)
        await pilot.press("o")
        await pilot.pause()
        assert isinstance(pilot.app.screen, AskScreen)
        pilot.app.screen.query_one(Input).value = str(tmp_path / "bad.toml")
        await pilot.press("enter")
        assert "compare is 1, but must be" in str(pilot.app.screen.query_one("#dialog-error").render())
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        pilot.app.screen.query_one(Input).value = "other.toml"
        await pilot.press("enter")
        assert "which has been deleted" in str(pilot.app.screen.query_one("#dialog-error").render())
        pilot.app.screen.query_one(Input).value = str(tmp_path / "other.toml")
        await pilot.press("enter")
        await screen.workers.wait_for_complete([w for w in screen.workers if w.group == "suite-order"])
        await wait_for_suites(pilot)
        assert screen.selected is not None
        assert screen.selected.suite.title == "Of another folder"
        assert "other 0 of 7 Yours:" in text_of(screen, "#suite-list")
        (tmp_path / "other.toml").write_text(TEXT.replace("Waves and glyphs", "Edited"))
        await open_file(pilot, tmp_path / "other.toml")
        assert screen.selected.suite.title == "Edited"
        assert "other 0 of 7 Yours: Edited" in text_of(screen, "#suite-list")


async def test_message_about_a_suite_is_removed_when_its_file_is_opened_again(store: RunStore) -> None:
    suite, _ = make_suite(store, finished=7, stopped=0)
    assert suite.path is not None
    async with suite_app(store).run_test(size=(120, 40)) as pilot:
        screen = await opened_screen(pilot)
        await pilot.press("f5")
        await pilot.pause()
        assert "All runs of this suite are finished." in text_of(screen, "#suite-state")
        suite.path.write_text(TEXT.replace("seeds = [0, 1]", "seeds = [0, 1, 2]"))
        await open_file(pilot, suite.path)
        assert "mine 7 of 9" in text_of(screen, "#suite-list")
        assert keys(screen)[0] == "F5 Resume"
        assert text_of(screen, "#suite-state") == ""


async def test_invalid_suites_are_reported_until_they_are_repaired(store: RunStore) -> None:
    user_dir().mkdir(parents=True)
    bad = user_dir() / "bad.toml"
    bad.write_text("compare = 1")
    async with suite_app(store).run_test(size=(120, 40)) as pilot:
        screen = await opened_screen(pilot)
        assert "A suite cannot be used" in text_of(screen, Description)
        bad.write_text(TEXT)
        await open_file(pilot, bad)
        assert screen.selected is not None
        assert screen.selected.suite.name == "bad"
        assert text_of(screen, Description).startswith("Waves and glyphs")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("symbols", list(Symbols))
def test_bars_are_full_only_at_the_end(share: float, symbols: Symbols) -> None:
    glyphs = GLYPHS[symbols]
    drawn = bar(share, 10, glyphs)
    assert len(drawn) == 10
    assert (glyphs.todo not in drawn) == (share == 1.0)
    assert (glyphs.done not in drawn) == (share == 0.0)


@pytest.mark.parametrize(
    ("size", "ascii"),
    [((80, 24), True), *((size, False) for size in SIZES)],
    ids=["80x24-ascii", *(f"{width}x{height}" for width, height in SIZES)],
)
def test_snapshot(
    snap_compare: Callable[..., bool],
    store: RunStore,
    size: tuple[int, int],
    ascii: bool,  # noqa: A002 - as in the app
) -> None:
    make_suite(store)

    async def read(pilot: Pilot[Any]) -> None:
        await opened_screen(pilot)

    assert snap_compare(suite_app(store, ascii=ascii), terminal_size=size, run_before=read)
