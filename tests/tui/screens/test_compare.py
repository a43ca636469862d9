"""The comparison's screen, fed with comparisons of made-up values."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Curve
from metatui.runs.analysis.comparison import Comparing, Comparison, Costs, Protocol, RunResult, TrainingCurve
from metatui.runs.analysis.comparison.pairwise_tests import pairs
from metatui.tui.app import MetatuiApp
from metatui.tui.helper import Helper
from metatui.tui.screens.compare import screen as screens
from metatui.tui.screens.compare.curves import View, adaptation, training
from metatui.tui.screens.compare.export import ExportScreen
from metatui.tui.screens.compare.screen import CompareScreen
from metatui.tui.screens.compare.sections import SECTIONS
from metatui.tui.screens.dialogs.prompt import AskScreen
from tests.runs.analysis.comparisons import GLYPHS, SINUSOID, result, train
from tests.tui.drawing import wobble
from tests.tui.fakes import saved_run
from tests.tui.helping import FakeHelper

SIZES = [(80, 24), (120, 40), (200, 60)]
NAMES = ("MAML", "FOMAML", "Reptile")
Make = Callable[..., MetatuiApp]
Compare = Callable[..., bool]


def compared(images: bool = False, *, shots: int = 10, target: float | None = None) -> Comparison:
    """Three runs: values of twelve tasks, curves of six inner steps, and a training of 500 meta-steps."""
    runs = tuple(_run(number, name, images) for number, name in enumerate(NAMES))
    metric = "accuracy" if images else "loss"
    return Comparison(
        protocol=Protocol(
            source="glyphs" if images else "sinusoid", split="test", tasks=12, shots=shots, queries=10, steps=5,
            seed=0, batch_norm="transductive" if images else None, rotations=None,
        ),
        runs=runs,
        pairs=pairs(runs, metric="accuracy" if images else "loss", step=1),
        seeds=(),
        target=target,
        warnings=(f"{NAMES[2]} is not finished: stopped after 300 of 500 meta-steps",) if metric == "loss" else (),
    )  # fmt: skip


def _run(number: int, name: str, images: bool) -> RunResult:
    skill = 0.5 + 0.15 * number
    losses = [skill + 0.1 * wobble(task + 20 * number) for task in range(12)]
    costs = Costs(500, 6.0 - number, 0.012 / (1 + number), 330.0, (300 + number) * 2**20, "cpu", "a CPU", "here")
    made = result(name, losses, [1 - loss / 3 for loss in losses] if images else None, settings=SINUSOID, costs=costs)
    loss = Curve(tuple(skill + 3 * skill**step for step in range(6)), tuple(0.4 / (1 + step) for step in range(6)))
    hits = Curve(tuple(0.9 - 0.7 * skill ** (2 * step) for step in range(6)), (0.02,) * 6) if images else None
    iterations = tuple(range(5, 505, 5))
    falling = tuple(3.2 * math.exp(-i / (80 + 40 * number)) + skill for i in iterations)
    curve = TrainingCurve(
        50, iterations, tuple(4 * i for i in iterations), tuple(i / 90 for i in iterations), falling,
        tuple(1 - v / 5 for v in falling) if images else None,
    )  # fmt: skip
    evaluation = replace(made.evaluation, steps=tuple(range(6)), loss=loss, accuracy=hits, ways=5 if images else None)
    return replace(made, evaluation=evaluation, training=curve)


@pytest.fixture
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeHelper.made.clear()
    monkeypatch.setattr(screens, "Helper", FakeHelper)
    monkeypatch.setattr("metatui.tui.controllers.run.SAMPLE_EVERY", 3600.0)


@pytest.fixture
def runs(runs_dir: Path) -> None:
    for number in range(2):
        saved_run(runs_dir, Settings(), name=f"maml-sinusoid-2026010{number}-000000", steps=3)


async def opened(pilot: Pilot[Any]) -> tuple[CompareScreen, FakeHelper]:
    """Mark both runs, and compare them."""
    await pilot.press("2")
    await pilot.app.workers.wait_for_complete()
    await pilot.press("space", "down", "space", "c")
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, CompareScreen)
    return screen, FakeHelper.made[-1]


def text_of(screen: CompareScreen, name: str) -> str:
    """What a widget shows, as if it were one line."""
    widget = screen.query_one(name)
    return " ".join(" ".join(widget.render_line(y).text for y in range(widget.size.height)).split())


def state(screen: CompareScreen) -> str:
    return text_of(screen, "#compare-state")


@pytest.mark.usefixtures("_fake", "runs")
async def test_the_marked_runs_are_measured_and_shown(make: Make) -> None:
    app = make()
    async with app.run_test(size=(200, 60)) as pilot:
        screen, helper = await opened(pilot)
        assert [run.id for run in helper.asked[0].args[0]] == app.runs_tab.marked
        await helper.say(pilot, Comparing("FOMAML", 2, 3, 100, 600))
        assert state(screen) == "Adapting FOMAML (2 of 3) to the held-out tasks: 100 of 600"
        await helper.say(pilot, done=compared())
        assert screen.query_one("#compare-state").display is False
        assert text_of(screen, "#compare-protocol").startswith("sinusoid, test split, 12 tasks, 10-shot")
        assert "Meta-loss in training, smoothed over 50 meta-steps" in text_of(screen, "#compare-training")
        assert "Loss on 12 held-out tasks, 10-shot" in text_of(screen, "#compare-adaptation")
        read = text_of(screen, "#compare-result")
        assert "Warning: Reptile is not finished" in read
        assert all(pair.verdict[:30] in read for pair in compared().pairs)
        assert "MAML 12 ms 1.00x 330" in text_of(screen, "#compare-tables")


@pytest.mark.usefixtures("_fake", "runs")
async def test_one_marked_run_is_no_comparison(make: Make) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await pilot.app.workers.wait_for_complete()
        await pilot.press("space", "c")
        await pilot.pause()
        assert not isinstance(app.screen, CompareScreen)
        assert "Mark at least two runs first" in [n.message for n in app._notifications][-1]


@pytest.mark.usefixtures("_fake", "runs")
async def test_keys_change_how_curves_are_looked_at(make: Make) -> None:
    app = make()
    async with app.run_test(size=(200, 60)) as pilot:
        screen, helper = await opened(pilot)
        await helper.say(pilot, done=compared(images=True))
        assert "meta-steps" in text_of(screen, "#compare-training")
        await pilot.press("t")
        assert "tasks seen" in text_of(screen, "#compare-training")
        await pilot.press("t")
        assert "seconds of training" in text_of(screen, "#compare-training")
        await pilot.press("m")
        assert screen.view.metric == "loss"
        assert "Meta-loss" in text_of(screen, "#compare-training")
        await pilot.press("y")
        assert screen.view.log is False


@pytest.mark.usefixtures("_fake", "runs")
async def test_other_shots_are_measured_anew_and_escape_cancels_only_that(make: Make) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, helper = await opened(pilot)
        await helper.say(pilot, done=compared())
        await pilot.press("plus", "plus")
        assert [call.keywords["shots"] for call in helper.asked] == [None, 15, 20]
        await helper.say(pilot, done=compared(shots=15), request=2)
        assert screen.comparison is not None
        assert screen.comparison.protocol.shots == 10, "an answer that is no longer asked for"
        await pilot.press("escape")
        assert helper.stopped
        assert state(screen) == "Cancelled. What is shown was measured before."
        assert isinstance(app.screen, CompareScreen)
        await pilot.press("minus")
        again = FakeHelper.made[-1]
        assert again is not helper
        assert again.asked[0].keywords["shots"] == 5
        await again.say(pilot, broken="task.shots is 5, but there are 3")
        assert state(screen) == "Not measured: task.shots is 5, but there are 3."
        await pilot.press("escape")
        assert not isinstance(app.screen, CompareScreen)


@pytest.mark.usefixtures("_fake", "runs")
async def test_escape_while_measuring_ends_the_process(make: Make) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        _, helper = await opened(pilot)
        await pilot.press("escape")
        await pilot.pause()
        assert helper.stopped
        assert not isinstance(app.screen, CompareScreen)


@pytest.mark.usefixtures("_fake", "runs")
async def test_a_target_is_asked_for(make: Make) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, helper = await opened(pilot)
        await helper.say(pilot, done=compared())
        await pilot.press("g")
        await pilot.pause()
        assert isinstance(app.screen, AskScreen)
        app.screen.query_one(Input).value = "soon"
        await pilot.press("enter")
        assert isinstance(app.screen, AskScreen)
        app.screen.query_one(Input).value = "50%"
        await pilot.press("enter")
        await pilot.pause()
        assert helper.asked[-1].keywords["target"] == 0.5
        await helper.say(pilot, done=compared(target=0.5))
        assert "First validation with a loss of 0.5 or better" in text_of(screen, "#compare-tables")


@pytest.mark.usefixtures("_fake", "runs")
async def test_it_is_written_to_a_file(make: Make, tmp_path: Path) -> None:
    async def write(name: str) -> str:
        """What is wrong with the name; empty where the file was written."""
        if not isinstance(app.screen, ExportScreen):
            await pilot.press("e")
            await pilot.pause()
        app.screen.query_one("#export-path", Input).value = str(tmp_path / name)
        await pilot.press("enter")
        await pilot.pause()
        return str(app.screen.query_one("#export-error").render()) if isinstance(app.screen, ExportScreen) else ""

    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        _, helper = await opened(pilot)
        await helper.say(pilot, done=compared())
        assert await write("made.svg") == ""
        assert (tmp_path / "made.svg").read_text().startswith("<svg")
        assert "is there already" in await write("made.svg")
        assert "must end in one of" in await write("made.doc")
        assert "file name too long" in await write(f"{'x' * 4000}.svg")
        app.screen.query_one("#export-path", Input).value = "~nobody-of-this-name/made.svg"
        await pilot.press("enter")
        assert "not known on this machine" in str(app.screen.query_one("#export-error").render())
        assert [file.name for file in tmp_path.glob("made*")] == ["made.svg"]


@pytest.mark.usefixtures("_fake", "runs")
async def test_resize_at_any_moment(make: Make) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, helper = await opened(pilot)
        await pilot.resize_terminal(30, 8)
        await helper.say(pilot, done=compared())
        for size in ((80, 24), (20, 5), (200, 60), (1, 1), (120, 40)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            await pilot.press("n")
        assert screen.section in SECTIONS
        assert "Difference" in text_of(screen, "#compare-result") or screen.section == "tables"


def test_intervals_that_reach_below_zero_end_where_a_logarithmic_axis_does() -> None:
    found = compared()
    wide = replace(found.runs[0].evaluation, loss=Curve((1.0,) * 6, (2.0,) * 6))
    picture = adaptation(replace(found, runs=(replace(found.runs[0], evaluation=wide), *found.runs[1:])), View())
    lowest = min(y for series in picture.series for _, y in series.points if not math.isnan(y))
    assert lowest == pytest.approx(min(m - h for r in found.runs for m, h in zip(
        r.evaluation.loss.mean, r.evaluation.loss.ci95, strict=True) if r is not found.runs[0]))  # fmt: skip


def test_runs_that_were_never_trained_leave_the_chart_empty() -> None:
    found = compared()
    picture = training(replace(found, runs=tuple(replace(run, training=None) for run in found.runs)), View())
    assert not any(series.points for series in picture.series)


async def test_real_runs_from_end_to_end(make: Make, runs_dir: Path) -> None:
    """By the real child process; nothing in the runs' folders changes."""
    trained = [train(runs_dir, change(GLYPHS, {"algorithm.name": name})) for name in ("fomaml", "scratch")]
    before = {file: file.read_bytes() for run in trained for file in run.path.rglob("*") if file.is_file()}
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = CompareScreen(trained)
        await app.push_screen(screen)
        while screen._request:
            await pilot.pause(0.02)
        assert screen.comparison is not None
        assert [run.label for run in screen.comparison.runs] == ["FOMAML", "scratch"]
        helper = screen._helper
        assert isinstance(helper, Helper)
        await pilot.press("escape")
    await asyncio.to_thread(helper._child.wait, 10)
    assert {file: file.read_bytes() for run in trained for file in run.path.rglob("*") if file.is_file()} == before


def seen(images: bool = False, *keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def run(pilot: Pilot[Any]) -> None:
        _, helper = await opened(pilot)
        await helper.say(pilot, done=compared(images))
        pilot.app.clear_notifications()
        await pilot.press(*keys)
        await pilot.pause()

    return run


@pytest.mark.usefixtures("_fake", "runs")
@pytest.mark.parametrize("images", [False, True], ids=["sinusoid", "images"])
@pytest.mark.parametrize("size", SIZES)
def test_result(make: Make, snap_compare: Compare, size: tuple[int, int], images: bool) -> None:
    assert snap_compare(make(), terminal_size=size, run_before=seen(images))


@pytest.mark.usefixtures("_fake", "runs")
@pytest.mark.parametrize("key", ["1", "2", "4"])
def test_sections_where_room_is_short(make: Make, snap_compare: Compare, key: str) -> None:
    assert snap_compare(make(), terminal_size=(80, 24), run_before=seen(False, key))


@pytest.mark.usefixtures("_fake", "runs")
@pytest.mark.parametrize("key", ["2", "3"])
@pytest.mark.parametrize("size", SIZES)
def test_ascii(make: Make, snap_compare: Compare, size: tuple[int, int], key: str) -> None:
    assert snap_compare(make(ascii=True), terminal_size=size, run_before=seen(key == "2", key))
