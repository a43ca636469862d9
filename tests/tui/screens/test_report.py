"""Asking where a report goes, and writing it: nothing is measured, the helper is a fake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from metatui.config.settings import Settings
from metatui.runs.analysis.comparison import Comparing
from metatui.tui.app import MetatuiApp
from metatui.tui.screens.compare import report
from metatui.tui.screens.compare.report import ReportScreen
from tests.tui.fakes import saved_run
from tests.tui.helping import FakeHelper
from tests.tui.screens.test_compare import compared

Make = Callable[..., MetatuiApp]
Compare = Callable[..., bool]
NAMES = ("maml-sinusoid-20260101-000000", "maml-sinusoid-20260100-000000")


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch, runs_dir: Path) -> None:
    FakeHelper.made.clear()
    monkeypatch.setattr(report, "Helper", FakeHelper)
    monkeypatch.setattr("metatui.tui.controllers.run.SAMPLE_EVERY", 3600.0)
    for name in NAMES:
        saved_run(runs_dir, Settings(), name=name, steps=3)


async def opened(pilot: Pilot[Any], *keys: str) -> ReportScreen:
    await pilot.press("2")
    await pilot.app.workers.wait_for_complete()
    await pilot.press(*keys, "g")
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, ReportScreen)
    return screen


def shown(screen: ReportScreen, name: str) -> str:
    return str(screen.query_one(name).render())


async def test_of_the_chosen_run_beside_the_runs(make: Make, runs_dir: Path) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        path = Path(screen.query_one(Input).value).expanduser()
        assert path.parent == runs_dir
        assert path.stem in NAMES
        await pilot.press("enter")
        await pilot.pause()
        (helper,) = FakeHelper.made
        assert [run.id for run in helper.asked[0].args[0]] == [path.stem]
        await helper.say(pilot, Comparing("MAML", 1, 1, 100, 600))
        assert shown(screen, "#report-state") == "Adapting MAML (1 of 1): 100 of 600 tasks"
        await helper.say(pilot, done=compared())
        assert path.read_text().startswith("<!DOCTYPE html>")
        assert app.screen is not screen
        assert f"The report is in {path}." in [n.message for n in app._notifications]
        assert helper.stopped


async def test_of_marked_runs_as_markdown_with_pictures(make: Make, tmp_path: Path) -> None:
    async with make().run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, "space", "down", "space")
        assert screen.query_one(Input).value.endswith("-and-1-more.html")
        screen.query_one(Input).value = str(tmp_path / "both.md")
        await pilot.press("enter")
        await pilot.pause()
        (helper,) = FakeHelper.made
        assert {run.id for run in helper.asked[0].args[0]} == set(NAMES)
        await helper.say(pilot, done=compared())
        assert "](both-adaptation.svg)" in (tmp_path / "both.md").read_text()
        assert (tmp_path / "both-adaptation.svg").exists()


async def test_what_cannot_be_written_is_said_before_anything_is_measured(make: Make, tmp_path: Path) -> None:
    (tmp_path / "there.html").write_text("mine")
    async with make().run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        for name, said in (
            ("there.html", "is there already: turn on Replace"),
            ("x.doc", "must end in .html or .md"),
            ("nowhere/x.html", "there is no folder"),
        ):
            screen.query_one(Input).value = str(tmp_path / name)
            await pilot.press("enter")
            await pilot.pause()
            assert said in shown(screen, "#report-error")
        assert FakeHelper.made == []


async def test_what_went_wrong_is_said_and_it_can_be_tried_again(make: Make) -> None:
    async with make().run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("enter")
        await pilot.pause()
        await FakeHelper.made[0].say(pilot, broken="it has no checkpoint")
        assert shown(screen, "#report-error") == "Not measured: it has no checkpoint."
        await pilot.press("enter")
        await pilot.pause()
        assert len(FakeHelper.made) == 2
        await pilot.press("escape")
        await pilot.pause()
        assert pilot.app.screen is not screen
        assert FakeHelper.made[1].stopped


@pytest.mark.parametrize("plain", [False, True], ids=["braille", "ascii"])
@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
def test_pictures(
    make: Make, snap_compare: Compare, size: tuple[int, int], plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metatui.tui.screens.compare.report.paths.short", lambda path: f"/runs/{path.name}")
    monkeypatch.setattr("metatui.tui.screens.main.runs_tab.place", lambda run: "/runs")
    monkeypatch.setattr("metatui.tui.screens.main.runs_tab.when", lambda run: "2026-01-02 03:04")

    async def seen(pilot: Pilot[Any]) -> None:
        await opened(pilot)

    assert snap_compare(make(ascii=plain), terminal_size=size, run_before=seen)
