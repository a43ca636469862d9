"""Tests of the user's keymap: reading the keymap file, reporting errors in it, and using changed keys in the app."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from metatui.config.settings import Settings
from metatui.tui.app import MetatuiApp
from metatui.tui.keyboard import keymap
from metatui.tui.keyboard.actions import BY_ID, AppContext, use_keymap
from metatui.tui.screens.dialogs.help import HelpScreen
from metatui.tui.screens.main.header_footer import KeyBar
from metatui.tui.screens.main.tabs.run_preview import RunDetails, page
from metatui.tui.widgets.charts.chart_theme import theme_of
from metatui.tui.widgets.text_input import works_in_text
from metatui.utils import paths
from metatui.utils.errors import BadInput
from tests.tui.fakes import saved_run

Make = Callable[..., MetatuiApp]


def write(text: str) -> None:
    paths.keymap_file().parent.mkdir(parents=True, exist_ok=True)
    paths.keymap_file().write_text(text)


@pytest.fixture(autouse=True)
def _default_keys_afterwards() -> Iterator[None]:
    yield
    use_keymap({})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("start", "is not a TOML file: Expected '='"),
        ("strat = 'f5'", "'strat' is not an action: did you mean start?"),
        ("xyz = 'f5'", "'xyz' is not an action: 'metatui keys' lists the actions"),
        ("start = 5", "start is 5, but must be keys separated by commas, such as f5,s"),
        ("start = ''", "start is '', but must be keys"),
        ("start = 'f5,no_key'", "start is 'f5,no_key', but must be keys"),
        ("start = 'tab'", "start is 'tab', but tab, shift"),
        ("start = 'f6'", "start is 'f6', but f6 is a key of pause"),
        ("start = 'd'", "start is 'd', but d is a key of detach"),
        ("mark_run = 'f5'", "mark_run is 'f5', but f5 is a key of start"),
    ],
)
def test_bad_file_is_refused_in_one_sentence(text: str, error: str) -> None:
    write(text)
    with pytest.raises(BadInput) as refusal:
        keymap.load()
    assert str(paths.keymap_file()) in str(refusal.value)
    assert error in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_keys_may_be_exchanged_and_shared_as_by_default() -> None:
    assert keymap.load() == {}
    write(
        "start = 'f6, ?'\npause = 'f5'\nhelp = 'f1'\n"
        "open_run = 'enter,ctrl+e'\nload_preset = 'enter'\ncompare_runs = 'c'"
    )
    assert keymap.load() == {
        "start": "f6,question_mark", "pause": "f5", "help": "f1",
        "open_run": "enter,ctrl+e", "load_preset": "enter", "compare_runs": "c",
    }  # fmt: skip


async def test_changed_keys_work_and_are_shown(make: Make) -> None:
    write(
        "start = 'f6,ctrl+e'\npause = 'f5'\ntab_runs = '9'\nhelp = 'f2'\nsave_preset = 'f1'\ncommand_palette = 'ctrl+k'"
    )
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2", "ctrl+p")
        assert str(app.tab) == "work"
        assert len(app.screen_stack) == 1
        assert "F6 Start" in app.query_one(KeyBar).render().plain
        await pilot.press("f2")
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        assert any(line.columns == ("F6 or ^E", "Start") for section in app.screen.sections for line in section.lines)
        await pilot.press("f2", "9")
        await pilot.pause()
        assert str(app.tab) == "runs"
        await pilot.press("ctrl+e")
        await pilot.pause()
        assert app.run_controller.client.phase.active


async def test_messages_name_changed_keys(make: Make, runs_dir: Path) -> None:
    write(
        "tab_work = '7'\nleave = 'ctrl+x'\nopen_run = 'ctrl+e'\nstop_run = 'X'\nmark_run = 'M'\ncompare_runs = 'C'\n"
        "fetch_data = 'F'\nstop = 'f20'"
    )
    for number in range(2):
        saved_run(runs_dir, Settings(), name=f"maml-sinusoid-2026010{number}-000000")
    app = make()
    async with app.run_test(size=(160, 48)) as pilot:
        assert " 7 Work  2 Runs " in app.top_bar.render().plain
        await pilot.press("2", "M")
        await app.workers.wait_for_complete()
        side_by_side = "Runs side by side in the work tab (7): 1 of at most 3. C compares all marked runs."
        assert [note.message for note in app._notifications] == [side_by_side]
        tab = app.runs_tab
        assert "^X: clear the words" in tab.filter.placeholder
        await pilot.press("slash", *"xyz")
        await pilot.pause()
        assert "Press ^X to show all runs again." in tab.table.render_line(1).text
        await pilot.press("ctrl+x")
        assert not tab.filter.display
        await pilot.press("f1")
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        texts = [line.text for section in app.screen.sections for line in section.lines]
        assert any("Press ^E to open a run" in text and "Press M or click [ ] to mark runs" in text for text in texts)
        assert any("F to download its data" in text for text in texts)
        assert tab.selected
        live = replace(tab.selected, status="running")
        rows = page(live, RunDetails(), lambda: 20)(200, theme_of(tab.preview))
        shown = " ".join(" ".join(segment.text for row in rows for segment in row).split())
        assert "Press ^E to follow the run, or X to stop it." in shown
        many = AppContext(tab="runs", row=True, marked=9)
        assert BY_ID["compare_runs"].refusal_reason(many).endswith("M unmarks a run.")


async def test_changed_control_keys_work_in_text_fields(make: Make) -> None:
    write("start = 'f5,ctrl+e'")
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        field = (await app.form.reveal("algorithm.inner_lr")).control
        field.focus()
        await pilot.pause()
        assert app.focused is field
        assert works_in_text("ctrl+e")
        assert not works_in_text("ctrl+a")
        await pilot.press("ctrl+e")
        await pilot.pause()
        assert app.run_controller.client.phase.active


def test_app_starts_with_default_keys_if_the_file_is_bad(make: Make) -> None:
    use_keymap({"start": "ctrl+e"})
    write("start = 'f6'")
    app = make()
    assert BY_ID["start"].keys == "f5,s"
    assert "start is 'f6', but f6 is a key of pause" in app.warning
