"""Tests of the help screen: help on the focused field or pane, search, and help opened from other screens."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
from textual.binding import Binding
from textual.command import CommandInput
from textual.containers import Vertical
from textual.screen import Screen
from textual.widgets import Input

from metatui.config.fields import FIELDS
from metatui.tui.app import MetatuiApp
from metatui.tui.help.sections import sections_of
from metatui.tui.help.topics import ABOUT, TERMS, TOPICS
from metatui.tui.keyboard.actions import ACTIONS, AppContext
from metatui.tui.screens.benchmark.screen import BenchmarkScreen
from metatui.tui.screens.compare.screen import CompareScreen
from metatui.tui.screens.dialogs.help import HelpScreen
from metatui.tui.screens.explain import ExplainScreen
from metatui.tui.screens.explorer.screen import ExplorerScreen
from metatui.tui.screens.main.layout import Pane
from metatui.tui.screens.parameter_space import ParameterScreen
from metatui.tui.screens.suite.screen import SuiteScreen
from tests.tui.screens.conftest import press_together

Make = Callable[..., MetatuiApp]


def shown(app: MetatuiApp) -> str:
    """Return the text on the screen."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def test_topics_name_terms_and_groups_that_exist() -> None:
    for topic in (ABOUT, *TOPICS.values()):
        assert set(topic.terms) <= set(TERMS)
        assert not topic.group or topic.group in {action.group for action in ACTIONS}
        assert topic.text.endswith(".")


def test_scheduled_changes_are_explained() -> None:
    assert "Scheduled changes" in TOPICS["#presets"].terms
    assert {"[[changes]]", "iteration", "setting", "value", "validate"} <= set(TERMS["Scheduled changes"].split())


def test_topics_name_the_keys_of_the_keymap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metatui.tui.keyboard.actions._keymap", {"open_run": "ctrl+e", "fetch_data": "f12"})
    (runs, *_), (presets, *_) = (sections_of(TOPICS[name], AppContext()) for name in ("#runs", "#presets"))
    assert "Press ^E to open a run, o to sort" in runs.lines[0].text
    assert "and F12 to download its data" in presets.lines[0].text
    texts = [line.text for section in HelpScreen([], AppContext()).sections for line in section.lines]
    assert {runs.lines[0].text, presets.lines[0].text} <= set(texts)


@pytest.mark.parametrize(
    "screen", [BenchmarkScreen, CompareScreen, ExplainScreen, ExplorerScreen, ParameterScreen, SuiteScreen]
)
def test_keys_of_screens_are_explained_in_sentences(screen: type[Screen[None]]) -> None:
    for binding in Binding.make_bindings(screen.BINDINGS):
        assert binding.description[0].isupper()
        assert binding.tooltip.endswith("."), binding.description


@pytest.mark.parametrize("keys", [("f1",), ("f1", "slash"), ("ctrl+p",), ("f2",)])
async def test_app_is_suspended_from_every_screen(
    make: Make, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...]
) -> None:
    suspended = []
    monkeypatch.setattr(MetatuiApp, "action_suspend_process", lambda self: suspended.append(self.screen))
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        assert app.screen.is_modal
        await pilot.press("ctrl+z")
        await pilot.pause()
        assert suspended == [app.screen]


async def test_help_opens_at_what_is_focused(make: Make) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        (await app.form.reveal("algorithm.inner_lr")).control.focus()
        await pilot.press("f1")
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        titles = [section.title for section in app.screen.sections]
        assert titles[:3] == ["Setting algorithm.inner_lr", "Settings", "Keys: Training"]
        assert len(titles) == len(set(titles))
        assert "Inner learning rate: Step size of adaptation" in shown(app)
        await press_together(pilot, *"lambda", "enter")
        await pilot.pause()
        assert "imaml.regularization" in shown(app)
        await press_together(pilot, "slash", "ctrl+u", *"meta", "ctrl+u", *"transd")
        await pilot.pause()
        assert "Transductive" in shown(app)
        assert "Meta-loss" not in shown(app)
        search = app.screen.query_one(Input)
        assert search.value == "transd"
        search.value = FIELDS["training.seed"].label + " training"
        await pilot.pause()
        assert "training.seed" in shown(app)
        for words in ("change key", "keymap", "binding", "your keys"):
            search.value = words
            await pilot.pause()
            assert '"f5,ctrl+e"' in shown(app), words
        search.value = "export"
        await pilot.pause()
        assert "metatui.load_model" in shown(app)
        for words in ("sinusoid", "sine", "phase"):
            search.value = words
            await pilot.pause()
            assert "y = A sin(x - φ)" in shown(app), words
        search.value = "zzz"
        await pilot.pause()
        assert "does not contain these words" in shown(app)
        await pilot.press("f1")
        app.work_tab.show_run_panes(shown=True)
        for pane in get_args(Pane):
            app.work_tab.go_to(pane)
            await pilot.press("f1")
            await pilot.pause()
            assert isinstance(app.screen, HelpScreen)
            title = TOPICS["#form" if pane == "settings" else f"#{pane}"].title
            assert title in [section.title for section in app.screen.sections[:2]]
            await pilot.press("escape")


@pytest.mark.parametrize(
    ("words", "entry"),
    [
        ("holm", "Holm's correction"), ("wilcoxon", "Wilcoxon test"), ("cohen", "Cohen's d_z"),
        ("paired", "Paired test"), ("significant", "Significant difference (p)"), ("annealing", "Annealing"),
        ("first order", "First order (FOMAML)"), ("fomaml", "First order (FOMAML)"), ("imaml", "iMAML"),
        ("inner learning rate", "algorithm.inner_lr"), ("iterations", "training.iterations"),
    ],
)  # fmt: skip
def test_entries_that_are_named_after_the_words_come_first(words: str, entry: str) -> None:
    found = HelpScreen([], AppContext()).search(words)
    assert found[0].lines[0].columns[0].startswith(entry)


async def test_help_over_another_screen_and_in_the_palette(make: Make) -> None:
    app = make(ascii=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+g", "f1")
        await pilot.pause()
        await pilot.press("slash", *"previous")
        await pilot.pause()
        assert "b or Left  Previous algorithm" in shown(app)
        assert "Explain the previous" in shown(app)
        subtitle = app.screen.query_one(".dialog", Vertical).border_subtitle
        assert subtitle == "up and down scroll, / searches, escape closes"
        await pilot.press("f1")
        await pilot.pause()
        assert isinstance(app.screen, ExplainScreen)
        await pilot.press("ctrl+p")
        app.screen.query_one(CommandInput).value = "transductive"
        await pilot.pause()
        await app.workers.wait_for_complete()
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        assert app.screen.sections[0].title == "Transductive"
        for words in ("key", "keymap", "binding"):
            await pilot.press("escape", "ctrl+p")
            app.screen.query_one(CommandInput).value = words
            await pilot.pause()
            await app.workers.wait_for_complete()
            assert "Help: Change keys" in shown(app), words
