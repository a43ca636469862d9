"""End-to-end tests of runs on a table of 40 small regression tasks.

They train, resume, evaluate, compare, explain and report runs.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from metatui.cli.main import main
from metatui.config.declarations import Scalar
from metatui.config.fields import change, parse
from metatui.config.settings import Settings
from metatui.config.toml import parse_tables, read_tables
from metatui.events import CurveView, Finished, Noted, Progress, ScatterView, Stop, Warned
from metatui.learning.data.data_set import caveat
from metatui.learning.data.episodes import Episodes, Split
from metatui.learning.evaluation.custom_tasks import Wave
from metatui.learning.experiment import set_up
from metatui.runs.analysis.comparison import compare
from metatui.runs.analysis.evaluate import evaluate, views
from metatui.runs.analysis.explore import explore_stepwise
from metatui.runs.analysis.parameter_space import project_stepwise
from metatui.runs.execution.rerun import rerun_of
from metatui.runs.execution.session import Session
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.keyboard.actions import Phase
from metatui.tui.model.replay import Replay
from metatui.tui.model.system_monitor import Load
from metatui.tui.screens.main.run_pane import facts_of
from metatui.utils.errors import BadInput
from tests.learning.data.table.tables import regressions

SHOTS = 5


def settings_for(path: Path, **changes: Scalar) -> Settings:
    targets = ",".join(name for name in path.read_text().split("\n", 1)[0].split(",") if name.startswith("y"))
    base = parse(
        {
            "task": {"source": "table", "shots": SHOTS, "queries": 5},
            "table": {"file": str(path), "task_column": "plant", "targets": targets},
            "model": {"hidden": [16]},
            "training": {"iterations": 4, "seed": 3},
            "evaluation": {"every": 2, "tasks": 6, "test_tasks": 8, "inner_steps": 2},
            "compute": {"device": "cpu", "engine": "batched"},
        }
    )
    return change(base, {name.replace("__", "."): value for name, value in changes.items()})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def curves(folder: Path) -> Path:
    """Write a table with one input and one target, and return its path."""
    return regressions(folder / "curves.csv")


@pytest.fixture(scope="module")
def wide(folder: Path) -> Path:
    """Write a table with three inputs and two targets, and return its path."""
    return regressions(folder / "wide.csv", inputs=3, targets=2)


def test_few_wide_rows_are_sampled_in_advance(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metatui.learning.experiment.PREFETCHED_VALUES", 1200)  # three inputs and two targets each
    drawn: list[int] = []
    experiment = set_up(settings_for(wide))
    original = experiment.source.episodes

    def episodes(split: Split, tasks: Sequence[int], **sizes: int) -> Episodes:
        drawn.append(len(tasks) * (sizes["shots"] + sizes["queries"]) * (3 + 2))
        return original(split, tasks, **sizes)

    monkeypatch.setattr(experiment.source, "episodes", episodes)
    for first in range(0, 28, 4):
        experiment.training_episodes(range(first, first + 4))
    assert drawn == [1200, 1200]  # six of the seven meta-batches together


@pytest.fixture(scope="module")
def runs(curves: Path, folder: Path) -> list[RunFolder]:
    """Train MAML and Reptile on the table `curves`, and return the run folders."""
    sessions = [
        Session.start(settings_for(curves, algorithm__name=name), runs_dir=folder / "runs")
        for name in ("maml", "reptile")
    ]
    for session in sessions:
        list(session)
    return [session.run for session in sessions]


@pytest.mark.parametrize("name", ["maml", "fomaml", "reptile", "pretrained", "scratch"])
def test_training_with_several_inputs_and_targets(wide: Path, tmp_path: Path, name: str) -> None:
    session = Session.start(settings_for(wide, algorithm__name=name), runs_dir=tmp_path)
    events = list(session)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.test is not None
    assert finished.test.accuracy is None
    assert finished.test.tasks == 8
    assert not any(isinstance(event, Warned) for event in events)
    assert evaluate(session.run, split="test").loss == finished.test.loss
    for view in finished.views:
        assert isinstance(view, ScatterView)
        assert view.targets == ("y0", "y1")
        assert len(view.predictions) == 3
        assert all(450 < y < 550 for row in view.truth for y in row)  # in the units of the column
    assert [view.task for view in views(session.run, [3, 1])] == [3, 1]


def test_engines_agree(wide: Path) -> None:
    from metatui import train

    changes: dict[str, Scalar] = {"algorithm.name": "maml", "compute.precision": "float64", "evaluation.tasks": 2}
    losses = [
        train(change(settings_for(wide), changes | {"compute.engine": name}), record=False).meta_loss
        for name in ("batched", "loop")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_training_learns_the_table(curves: Path, tmp_path: Path) -> None:
    settings = settings_for(
        curves, training__iterations=150, algorithm__inner_lr=0.1, algorithm__outer_lr=0.01, evaluation__every=0,
        algorithm__name="fomaml",
    )  # fmt: skip
    finished = list(Session.start(settings, runs_dir=tmp_path))[-1]
    assert isinstance(finished, Finished)
    assert finished.test is not None
    before, after = finished.test.loss.mean[0], finished.test.loss.mean[-1]
    assert after < 0.8 * before


def test_curve_views(runs: list[RunFolder], curves: Path) -> None:
    (view,) = views(runs[0], [2])
    assert isinstance(view, CurveView)
    assert (view.x_label, view.y_label, view.loss_name) == ("x0", "y0", "standardised MSE")
    rows = {
        (float(row["x0"]), float(row["y0"]))
        for row in csv.DictReader(curves.read_text().splitlines())
        if row["plant"] == view.title
    }
    for xs, ys in ((view.support_x, view.support_y), (view.query_x, view.query_y)):
        assert len(xs) == SHOTS
        for x, y in zip(xs, ys, strict=True):
            assert any(math.isclose(x, a, abs_tol=1e-3) and math.isclose(y, b, abs_tol=1e-2) for a, b in rows)
    assert view.grid[0] == pytest.approx(min(view.support_x + view.query_x))
    assert view.grid[-1] == pytest.approx(max(view.support_x + view.query_x))
    assert len(view.predictions) == len(view.loss) == 3
    assert all(400 < y < 600 for row in view.predictions for y in row)


def test_run_notes_what_losses_refer_to(curves: Path, tmp_path: Path) -> None:
    session = Session.start(settings_for(curves, evaluation__test_tasks=16), runs_dir=tmp_path)
    events = list(session)
    contents, note = (event.text for event in events if isinstance(event, Noted))
    assert contents.startswith(f"'{curves}' has inputs: ")
    assert note.startswith(
        "Losses are mean squared errors of standardised targets. Each target is divided by its standard"
    )
    assert note.endswith(" for y0")
    (warning,) = (event.text for event in events if isinstance(event, Warned))
    assert warning == (
        "the 16 test tasks are drawn from only 8 tasks in the data, each time with different examples: 95 % intervals "
        "and p-values apply to these tasks, not to new tasks"
    )
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.test is not None
    assert caveat(finished.test) == warning


def test_lists_and_the_app_name_the_unit_of_losses(runs: list[RunFolder], capsys: pytest.CaptureFixture[str]) -> None:
    schema = runs[0].schema()
    assert schema is not None
    assert schema.outputs is not None
    unit = f"standardised; standard deviation {schema.outputs.scale[0]:.3g} for y0"
    facts = facts_of(Replay(runs[0]).read(), Load(), Phase.IDLE)
    assert [fact.label for fact in facts[:2]] == ["test", "best val"]
    assert [fact.text for fact in facts if fact.label == "targets"] == [unit]
    assert main(["runs", "--runs-dir", str(runs[0].path.parent)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines.count(f"targets {unit}") == len(runs)


def test_settings_round_trip(runs: list[RunFolder], curves: Path) -> None:
    path = runs[0].path / "settings.toml"
    tables = read_tables(path)
    assert tables["table"]["file"] == str(curves)
    tables.pop("preset", None)
    assert parse_tables(tables, path) == runs[0].settings()


def test_resume_continues_the_run(curves: Path, tmp_path: Path) -> None:
    whole = Session.start(settings_for(curves), runs_dir=tmp_path / "whole")
    expected = list(whole)[-1]
    session = Session.start(settings_for(curves), runs_dir=tmp_path / "parts")
    for event in session:
        if isinstance(event, Progress) and event.iteration == 1:
            session.submit(Stop())
    finished = list(Session.resume(session.run))[-1]
    assert isinstance(finished, Finished)
    assert isinstance(expected, Finished)
    assert finished.test is not None
    assert expected.test is not None
    assert finished.test.loss == expected.test.loss
    assert finished.views == expected.views


@pytest.mark.parametrize("how", ["evaluate", "resume"])
def test_changed_file_is_refused(curves: Path, tmp_path: Path, how: str) -> None:
    copy = tmp_path / "copy.csv"
    copy.write_text(curves.read_text())
    session = Session.start(settings_for(copy), runs_dir=tmp_path / "runs")
    for event in session:
        if isinstance(event, Progress) and how == "resume":
            session.submit(Stop())
    copy.write_text(copy.read_text() + "p00,104.5,500\n")
    use = evaluate if how == "evaluate" else Session.resume
    with pytest.raises(BadInput) as error:
        use(session.run)
    assert str(error.value) == (
        f"table.file is '{copy}', but its rows are no longer those of the run: restore them, or start a new run"
    )


def test_repeated_run_has_the_same_numbers(runs: list[RunFolder], tmp_path: Path) -> None:
    repeat = rerun_of(runs[0], {})
    finished = list(Session.start(repeat.settings, runs_dir=tmp_path))[-1]
    assert isinstance(finished, Finished)
    assert finished.test is not None
    test = runs[0].evaluation().test
    assert test is not None
    assert finished.test.loss == test.loss


def test_exploration(runs: list[RunFolder]) -> None:
    a, b = explore_stepwise(runs, task=5, steps=3, rate=2.0)
    assert isinstance(a.view, CurveView)
    assert isinstance(b.view, CurveView)
    assert a.view.title == b.view.title
    assert a.view.support_x == b.view.support_x
    assert len(a.view.predictions) == 4
    with pytest.raises(BadInput, match="waves can only be drawn for sinusoid runs"):
        list(explore_stepwise(runs, task=5, drawn=Wave(1.0, 0.5), steps=3))


def test_parameter_space(runs: list[RunFolder]) -> None:
    *_, last = project_stepwise(runs[0], tasks=3)
    assert last.done == last.of > 3


def test_comparison(runs: list[RunFolder]) -> None:
    comparison = compare(*runs)
    assert comparison.metric == "loss"
    (pair,) = comparison.pairs
    assert pair.test.tasks == 8


def test_runs_on_different_tables_are_not_compared(runs: list[RunFolder], wide: Path, tmp_path: Path) -> None:
    session = Session.start(settings_for(wide, training__iterations=1), runs_dir=tmp_path)
    list(session)
    with pytest.raises(BadInput, match=r"runs on different data cannot be compared: table.file is "):
        compare(runs[0], session.run)


@pytest.mark.parametrize("extension", ["csv", "html", "json"])
def test_export_of_comparison(
    runs: list[RunFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str], extension: str
) -> None:
    file = tmp_path / f"comparison.{extension}"
    assert main(["compare", *(str(run.path) for run in runs), "--export", str(file)]) == 0
    assert "loss of standardised targets" in " ".join(capsys.readouterr().out.split())
    assert file.stat().st_size
    if extension == "html":
        assert "loss of standardised targets" in file.read_text()


def test_commands(runs: list[RunFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(runs[0].path)
    assert main(["report", path, "--to", str(tmp_path / "report.html")]) == 0
    assert "loss of standardised targets" in (tmp_path / "report.html").read_text()
    assert main(["runs", "export", path, "--to", str(tmp_path / "metrics.csv")]) == 0
    capsys.readouterr()
    assert main(["evaluate", path, "--shots", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shots"] == 2
    assert main(["evaluate", path, "--shots", "50"]) == 2
    assert "their sum must be at most 12, the largest number of rows" in capsys.readouterr().err


def test_explanation(curves: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [f"task.source=table --set table.file={curves} --set table.targets=y0"]
    assert main(["explain", "maml", "--set", *" ".join(sets).split()]) == 0
    assert "mean squared error of standardised targets" in " ".join(capsys.readouterr().out.split())
