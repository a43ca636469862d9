"""The screen of suites: what it lists, what its keys do, what it says. Nothing trains: the background is a fake."""

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
from metatui.tui.screens.compare import screen as comparing
from metatui.tui.screens.compare.screen import CompareScreen
from metatui.tui.screens.dialogs.confirm import ConfirmScreen
from metatui.tui.screens.dialogs.prompt import AskScreen
from metatui.tui.screens.suite import cells
from metatui.tui.screens.suite.diff_table import LiveTable
from metatui.tui.screens.suite.screen import BUSY, SuiteScreen
from metatui.tui.terminal.symbols import GLYPHS, Symbols
from metatui.tui.widgets.key_line import KeyLine
from metatui.utils.errors import BadInput
from tests.tui.fakes import FakeSessions, saved_run
from tests.tui.helping import FakeHelper
from tests.tui.suites import TEXT, made, written

Make = Callable[..., MetatuiApp]
Compare = Callable[..., bool]
SIZES = [(80, 24), (120, 40), (200, 60)]


@pytest.fixture(autouse=True)
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Suite]:
    """The suites that were begun."""
    found: list[Suite] = []
    FakeHelper.made.clear()
    monkeypatch.setattr(comparing, "Helper", FakeHelper)
    monkeypatch.setattr("metatui.tui.screens.suite.screen.LOOK_EVERY", 3600.0)
    monkeypatch.setattr("metatui.tui.controllers.run.SAMPLE_EVERY", 3600.0)
    monkeypatch.setattr(background, "start", lambda suite, store: found.append(suite))
    return found


@pytest.fixture
def store(runs_dir: Path) -> RunStore:
    return RunStore(runs_dir)


async def opened(pilot: Pilot[Any]) -> SuiteScreen:
    await pilot.press("ctrl+s")
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, SuiteScreen)
    await settled(pilot)
    return screen


async def settled(pilot: Pilot[Any]) -> None:
    """All that was to be read is read, and shown."""
    screen = pilot.app.screen_stack[1]
    assert isinstance(screen, SuiteScreen)
    await screen.workers.wait_for_complete([w for w in screen.workers if w.group == "suites"])
    async with screen._reading:
        pass
    await pilot.pause()


async def looked(pilot: Pilot[Any]) -> None:
    """A second has passed."""
    screen = pilot.app.screen_stack[1]
    assert isinstance(screen, SuiteScreen)
    assert screen.chosen is not None
    await screen._look(screen.chosen)
    await pilot.pause()


def text_of(screen: SuiteScreen, name: str) -> str:
    widget = screen.query_one(name)
    return " ".join(" ".join(widget.render_line(y).text for y in range(widget.size.height)).split())


def keys(screen: SuiteScreen) -> list[str]:
    return [f"{key.key} {key.label}" for key in screen.query_one(KeyLine).keys]


async def test_suites_are_listed_and_the_chosen_one_has_its_runs_below(make: Make, store: RunStore) -> None:
    made(store)
    async with make().run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        listed = text_of(screen, "#suite-list")
        assert "mine 4 of 7 Yours: Waves and glyphs" in listed
        assert "chapter-small 0 of 20 The chapter's comparison, small enough" in listed
        assert "Notes: Small enough for a test. From: a chapter" in text_of(screen, "About")
        assert text_of(screen, "Whole").endswith("4 of 7 runs finished")
        runs = text_of(screen, "#suite-runs")
        assert "waves MAML (seed 0) ━━━━━━━━━━ test loss 0.50 ± 0.10 50 of 50" in runs
        assert "glyphs MAML ━━━─────── stopped, accuracy 51.0 % 66 of 200" in runs
        assert "scratch ────────── waiting none to make" in runs
        assert keys(screen)[0] == "F5 Go on"
        await pilot.press("down")
        await settled(pilot)
        assert "0 of 36 runs finished" in text_of(screen, "Whole")
        assert keys(screen)[0] == "F5 Start"


async def test_it_is_begun_after_a_question_watched_and_compared_at_its_end(
    make: Make, store: RunStore, begun: list[Suite]
) -> None:
    suite, _ = made(store, finished=4, stopped=0)
    async with make().run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("f5")
        await pilot.pause()
        assert isinstance(pilot.app.screen, ConfirmScreen)
        await pilot.press("n")
        assert begun == []
        await pilot.press("s")
        await pilot.pause()
        with SuiteManifest(suite, store) as ledger:
            await pilot.press("y")
            await screen.workers.wait_for_complete([w for w in screen.workers if w.group == "suite-order"])
            assert begun == [suite]
            await looked(pilot)
            assert keys(screen)[0] == "F7 Stop"
            assert "4 of 7 runs finished, starting the next" in text_of(screen, "Whole")
            for number, planned in enumerate(suite.runs[4:]):
                steps = max(1, planned.iterations)
                run = saved_run(store.root, planned.settings, name=f"new-{number}", steps=steps)
                ledger.add(run)
            lock = RunLock(run.lock_path)
            run.journal_path.unlink()
            await looked(pilot)
            assert "6 of 7 runs finished, 1 training" in text_of(screen, "Whole")
            lock.release()
            run.journal_path.write_text(store.find("new-0").journal_path.read_text())
        assert not isinstance(pilot.app.screen, CompareScreen)
        await looked(pilot)
        compare = pilot.app.screen
        assert isinstance(compare, CompareScreen)
        (asked,) = FakeHelper.made[-1].asked
        assert [each.id for each in asked.args[0]] == ["run-0", "run-1", "run-2", "run-3"]
        assert asked.keywords == {"tasks": 20, "steps": 3, "shots": None, "target": 0.5}


async def test_a_suite_that_stops_says_what_failed_and_that_it_goes_on(make: Make, store: RunStore) -> None:
    suite = written()
    async with make().run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        with SuiteManifest(suite, store) as ledger:
            await looked(pilot)
            ledger.failed(suite.runs[0], "there is no such device")
        await looked(pilot)
        said = text_of(screen, "#suite-state")
        assert said == "Stopped and saved: F5 goes on. waves: MAML (seed 0) failed: there is no such device."


async def test_what_cannot_be_done_is_said(
    make: Make, store: RunStore, sessions: FakeSessions, begun: list[Suite], monkeypatch: pytest.MonkeyPatch
) -> None:
    written()

    def refused(suite: Suite, store: RunStore) -> None:
        raise BadInput("suite 'mine' is being run by process 7")

    monkeypatch.setattr(background, "start", refused)
    async with make().run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("x")
        assert text_of(screen, "#suite-state") == "Not stopped: the suite is not being run."
        await pilot.press("c")
        assert "Two runs of waves must be finished to compare them, and 0 is." in text_of(screen, "#suite-state")
        await pilot.press("f5")
        await pilot.pause()
        await pilot.press("y")
        await screen.workers.wait_for_complete([w for w in screen.workers if w.group == "suite-order"])
        await pilot.pause()
        assert "Not started: suite 'mine' is being run by process 7." in text_of(screen, "#suite-state")
        screen._training = lambda: True
        await pilot.press("f5")
        await pilot.pause()
        assert text_of(screen, "#suite-state") == BUSY


async def test_the_comparison_is_that_of_the_run_under_the_cursor(make: Make, store: RunStore) -> None:
    made(store, finished=6)
    async with make().run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("enter", "down", "down", "down", "down", "enter")
        await pilot.pause()
        (asked,) = FakeHelper.made[-1].asked
        assert [each.id for each in asked.args[0]] == ["run-4", "run-5"]
        assert asked.keywords["tasks"] is None


async def test_a_file_that_is_not_in_the_list_can_be_named(make: Make, store: RunStore, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(TEXT.replace("Waves and glyphs", "Of another folder"))
    (tmp_path / "bad.toml").write_text("compare = 1")
    async with make().run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("o")
        await pilot.pause()
        assert isinstance(pilot.app.screen, AskScreen)
        pilot.app.screen.query_one(Input).value = str(tmp_path / "bad.toml")
        await pilot.press("enter")
        assert "compare is 1, but must be" in str(pilot.app.screen.query_one("#ask-error").render())
        pilot.app.screen.query_one(Input).value = str(tmp_path / "other.toml")
        await pilot.press("enter")
        await screen.workers.wait_for_complete([w for w in screen.workers if w.group == "suite-order"])
        await settled(pilot)
        assert screen.chosen is not None
        assert screen.chosen.suite.title == "Of another folder"
        assert "other 0 of 7" in text_of(screen, "#suite-list") or "other ? of 7" in text_of(screen, "#suite-list")


async def test_own_suites_that_cannot_be_used_are_said(make: Make) -> None:
    user_dir().mkdir(parents=True)
    (user_dir() / "bad.toml").write_text("compare = 1")
    async with make().run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        assert "Cannot be used" in text_of(screen, "About")


async def test_only_cells_that_differ_are_drawn_anew(
    make: Make, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(store)
    async with make().run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        changed: list[Any] = []
        monkeypatch.setattr(LiveTable, "update_cell_at", lambda self, at, value, **_: changed.append((at, value.plain)))
        monkeypatch.setattr(LiveTable, "clear", lambda self, columns=False: changed.append("all"))
        await looked(pilot)
        assert changed == []
        screen._runs.show([(key, ("", "MAML", "x", "y", "z")) for key, _ in screen._runs._given], columns=5)
        assert changed
        assert "all" not in changed


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("symbols", list(Symbols))
def test_a_bar_is_full_or_empty_only_where_all_or_nothing_is_done(share: float, symbols: Symbols) -> None:
    glyphs = GLYPHS[symbols]
    drawn = cells.bar(share, 10, glyphs)
    assert len(drawn) == 10
    assert (glyphs.todo not in drawn) == (share == 1.0)
    assert (glyphs.done not in drawn) == (share == 0.0)


@pytest.mark.parametrize("ascii", [False, True], ids=["braille", "ascii"])
@pytest.mark.parametrize("size", SIZES)
def test_pictures(make: Make, snap_compare: Compare, store: RunStore, size: tuple[int, int], ascii: bool) -> None:  # noqa: A002
    made(store)

    async def seen(pilot: Pilot[Any]) -> None:
        await opened(pilot)

    assert snap_compare(make(ascii=ascii), terminal_size=size, run_before=seen)
