"""Tests of searching the command palette for actions, settings, presets and runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from textual.command import CommandInput, CommandList, CommandPalette, Hits
from textual.pilot import Pilot
from textual.widgets import Input

from metatui.config import presets
from metatui.config.settings import Settings
from metatui.runs.storage.lock import RunLock
from metatui.tui.app import MetatuiApp
from metatui.tui.command_palette.provider import MAX_QUERY, CommandProvider
from metatui.tui.command_palette.screen import NOTHING_HERE, Palette
from metatui.tui.keyboard.actions import ACTIONS
from metatui.tui.screens.dialogs.help import HelpScreen
from metatui.tui.screens.explain import ExplainScreen
from tests.tui.fakes import FakeSessions, saved_run, wait_for_workers
from tests.tui.screens.conftest import press_together

SIZE = (120, 40)
Make = Callable[..., MetatuiApp]


def listed(app: MetatuiApp) -> Mapping[str, str]:
    """Return the entries of the command palette, as a mapping from the first line of each entry to its second line."""
    prompts = [str(option.prompt) for option in app.screen.query_one(CommandList).options]
    return {name: line for name, _, line in (prompt.partition("\n") for prompt in prompts)}


async def search(app: MetatuiApp, pilot: Pilot[None], query: str) -> Mapping[str, str]:
    """Enter `query` in the command palette, which is opened if necessary, and return the listed entries."""
    if not isinstance(app.screen, CommandPalette):
        await pilot.press("ctrl+p")
    app.screen.query_one(CommandInput).value = query
    await pilot.pause()
    await wait_for_workers(app, pilot)
    return listed(app)


def first(entries: Mapping[str, str]) -> str:
    return next(iter(entries))


def last_message(app: MetatuiApp) -> str:
    return list(app._notifications)[-1].message


async def test_lines_stay_readable_in_a_wide_terminal(make: Make) -> None:
    app = make()
    async with app.run_test(size=(160, 48)) as pilot:
        await search(app, pilot, "inner")
        region = app.screen.query_one(CommandList).region
        assert (region.x, region.width) == (30, 100), "centred"


async def test_actions(make: Make, runs_dir: Path) -> None:
    saved_run(runs_dir, Settings(), name="maml-sinusoid-20260101-000000", steps=1)
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await pilot.press("ctrl+p")
        await wait_for_workers(app, pilot)
        names = list(listed(app))
        assert len(names) == len(ACTIONS)  # without the palette itself, with the choice of a theme
        assert names[0] == "Training: Start   F5 or s"
        assert listed(app)["Training: Stop   F7 or x"].startswith("Not possible now. No run is training here.")
        assert (await search(app, pilot, "write report"))["Runs: Report   g"].startswith("In the runs tab (2): ")
        assert not await search(app, pilot, "zzz")
        # An action on a row of another tab only shows the tab, because the user has not seen the row.
        await search(app, pilot, "load settings")
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert str(app.tab) == "runs"
        assert last_message(app) == "l in this tab: Put the settings from the start of the run into the form."
        await search(app, pilot, "runs filter")
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert app.focused is app.runs_tab.filter
        assert first(await search(app, pilot, "training stop")) == "Training: Stop   F7 or x"
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert "No run is training here." in last_message(app)
        await search(app, pilot, "training start")
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert app.run_controller.client.phase.active


async def test_fast_typing_searches_only_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metatui.tui.command_palette.screen.TYPING_SECONDS", 3600.0)
    search_in_provider, queries = CommandProvider.search, list[str]()

    def searched(provider: CommandProvider, query: str) -> Hits:
        queries.append(query)
        return search_in_provider(provider, query)

    monkeypatch.setattr(CommandProvider, "search", searched)
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("ctrl+p")
        await wait_for_workers(app, pilot)
        await press_together(pilot, *"learning")
        await wait_for_workers(app, pilot)
        assert set(queries) == {"learning"}
        assert first(listed(app)).startswith("Setting: Inner learning rate")


async def test_a_query_without_letters_names_no_choice(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        assert not await search(app, pilot, "?")


async def test_palette_of_another_screen_lists_its_keys(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("ctrl+g")
        await pilot.pause()
        assert list(await search(app, pilot, "algorithm")) == [
            "Next algorithm   n or Right",
            "Previous algorithm   b or Left",
        ]
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert isinstance(app.screen, ExplainScreen)
        assert app.screen.algorithm != app.opening_settings.algorithm.name


async def test_only_one_palette_is_open(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("ctrl+p", "ctrl+p")
        assert not app._notifications
        await pilot.press("f1", "ctrl+p")
        await pilot.pause()
        assert [type(screen) for screen in app.screen_stack[1:]] == [Palette, HelpScreen]
        assert last_message(app) == "The palette is already open below this screen. Close this screen first (esc)."
        await pilot.press("escape", "escape")
        await pilot.pause()
        assert len(app.screen_stack) == 1


async def test_palette_of_another_screen_says_where_settings_are(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Palette, "_NO_MATCHES_COUNTDOWN", 0.01)
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("f5", "f4", "ctrl+p", *"inner lr 0.1")
        entries = app.screen.query_one(CommandList)
        while [str(option.prompt) for option in entries.options] != [NOTHING_HERE]:
            await pilot.pause()
        assert entries.options[0].disabled


async def test_settings(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        found = await search(app, pilot, "inner learning")
        assert "A number above 0 and up to 100." in found["Setting: Inner learning rate is 0.01"]
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        field = await app.form.reveal("algorithm.inner_lr")
        assert app.focused is field.control
        assert first(await search(app, pilot, "inner lr abc")) == "Set Inner learning rate to abc"
        assert listed(app)["Set Inner learning rate to abc"] == "Must be a number above 0 and up to 100."
        assert (await search(app, pilot, "cg steps=3"))["Set CG steps to 3"] == (
            "Not possible now. This setting applies only if algorithm.name is imaml."
        )
        assert first(await search(app, pilot, "sourc gly")) == "Set Task to glyphs"
        assert first(await search(app, pilot, "tf32 on")) == "Set TF32 to true"
        assert first(await search(app, pilot, "iterations 2,500")) == "Set Iterations to 2,500"
        assert listed(app)["Set Iterations to 2,500"].startswith("Iterations is 5000 now.")
        assert "Set Early stop to run" not in await search(app, pilot, "stop run")
        await pilot.press("escape", "escape", "2", "ctrl+p")
        before = app.runs_tab
        await search(app, pilot, "inner lr 0.05")
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert app.focused is before.table  # the next keys do not change the value
        assert last_message(app) == "Inner learning rate is 0.05 in the form."
        settings = app.form.assessment.settings
        assert settings is not None
        assert settings.algorithm.inner_lr == 0.05
        await pilot.press("f5")
        await wait_for_workers(app, pilot)
        refused = (
            "Not possible now. This setting cannot be changed during a run. F7 stops the run. d lets it continue "
            "in the background, so that you can edit the form."
        )
        assert (await search(app, pilot, "seed 3"))["Set Seed to 3"] == refused
        assert first(await search(app, pilot, "algorithm reptile")) == "Set Algorithm to reptile"
        found = await search(app, pilot, "outer_lr=0.02")
        effect = "Outer learning rate is 0.001 now. The change applies after this meta-step."
        assert found["Set Outer learning rate to 0.02"] == effect
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert sessions.session is not None
        while not sessions.session.commands:
            await pilot.pause()
        await sessions.session.wait_until_shown(app, pilot)
        assert app.run_controller.client.model is not None
        assert app.run_controller.client.model.settings.algorithm.outer_lr == 0.02


async def test_settings_with_the_same_label_are_told_apart_by_their_groups(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        found = set(await search(app, pilot, "val fraction"))
        assert {f"Setting: Validation fraction ({group}) is 0.16" for group in ("folder", "table")} <= found
        found = set(await search(app, pilot, "val fraction 0.3"))
        assert {f"Set Validation fraction ({group}) to 0.3" for group in ("folder", "table")} <= found


async def test_end_of_a_long_query_is_ignored(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        entries = await search(app, pilot, f"seed 7{' ' * MAX_QUERY}{'1, 2, 3, ' * 20_000}")
        assert first(entries) == "Set Seed to 7"


async def test_settings_that_can_change_come_first(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("f5")
        await wait_for_workers(app, pilot)
        found = await search(app, pilot, "inner")
        refused = [
            text.startswith("Not possible now. ") for name, text in found.items() if name.startswith("Setting: Inner ")
        ]
        assert refused == sorted(refused)
        assert set(refused) == {False, True}
        assert first(await search(app, pilot, "inner steps")).startswith("Setting: Inner steps is")


async def test_choices_by_name_and_title(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        for query in ("maml++", "algorithm maml++", "algorithm=MAML++", "maml_plus_plus"):
            assert first(await search(app, pilot, query)) == "Set Algorithm to maml_plus_plus", query
        assert "Setting: Regularisation (λ) is 2" in await search(app, pilot, "lambda")
        assert "Setting: Regularisation (λ) is 2" in await search(app, pilot, "λ")
        assert first(await search(app, pilot, "reptile")) == "Set Algorithm to reptile"
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert last_message(app) == (
            "Algorithm is reptile in the form. Reptile usually uses inner steps = 5 and outer learning rate = 0.1. "
            "h fills them in."
        )
        await search(app, pilot, "seed=3")
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert last_message(app) == "Seed is 3 in the form."
        await pilot.press("h")
        assert last_message(app).startswith("The usual values of Reptile are in the form: ")
        assert "inner steps 5, outer learning rate 0.1" in last_message(app)
        assert last_message(app).endswith(" r restores your values.")
        assert first(await search(app, pilot, "explain imaml")) == "Explain: iMAML"
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert isinstance(app.screen, ExplainScreen)
        assert app.screen.algorithm == "imaml"


async def test_presets_and_runs(make: Make, sessions: FakeSessions, runs_dir: Path) -> None:
    for day in (1, 2):
        saved_run(runs_dir, Settings(), name=f"maml-sinusoid-2026010{day}-000000", steps=day)
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await search(app, pilot, "finn sinusoid")
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert app.form.assessment.settings == presets.load("sinusoid-finn").settings
        runs = await search(app, pilot, "maml 2026")
        assert list(runs)[:2] == ["Open run: maml-sinusoid-20260102-000000", "Open run: maml-sinusoid-20260101-000000"]
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert app.run_controller.shown is not None
        assert app.run_controller.shown.iteration == 2
        lock = RunLock(runs_dir / "maml-sinusoid-20260101-000000" / "lock")  # as if it were training
        await search(app, pilot, "maml 20260101")
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert sessions.attached == ["maml-sinusoid-20260101-000000"]
        lock.release()
        await pilot.press("d", "f5")
        assert (await search(app, pilot, "preset quick"))["Load preset: quick"].startswith(
            "Not possible now. A run is already"
        )
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert last_message(app).startswith("A run is already training")


async def test_enter_twice_performs_the_action_once(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await search(app, pilot, "training stop")
        entry = app.screen.query_one(CommandInput)
        for _ in range(3):
            entry.post_message(Input.Submitted(entry, entry.value))
        await wait_for_workers(app, pilot)
        assert len(app.screen_stack) == 1
        assert len(app._notifications) == 1
        assert "No run is training here." in last_message(app)


async def test_a_key_right_after_enter_is_not_lost(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await search(app, pilot, "seed 7")
        await press_together(pilot, "enter", "f5")
        await wait_for_workers(app, pilot)
        assert len(app.screen_stack) == 1
        assert sessions.session is not None
        assert sessions.session.settings.training.seed == 7, "the next key comes after the effect of enter"


async def test_enter_selects_an_entry_of_the_typed_query(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    app, typed = make(), asyncio.Event()
    find = CommandProvider.search

    async def search_later(provider: CommandProvider, query: str) -> Hits:
        await typed.wait()
        async for hit in find(provider, query):
            yield hit

    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await search(app, pilot, "explain")
        monkeypatch.setattr(CommandProvider, "search", search_later)
        entry = app.screen.query_one(CommandInput)
        entry.value = "seed 7"
        entry.post_message(Input.Submitted(entry, entry.value))
        await asyncio.sleep(0)
        typed.set()
        await wait_for_workers(app, pilot)
        assert app.form.text("training.seed") == "7"
        assert len(app.screen_stack) == 1
