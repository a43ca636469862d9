"""Tests of running, evaluating, comparing, explaining and reporting with every registered algorithm."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from metatui.cli import main
from metatui.config.fields import change
from metatui.config.registry import ALGORITHMS
from metatui.config.toml import settings_toml
from metatui.runs.analysis.comparison import compare
from metatui.runs.analysis.report.content import report
from metatui.utils import paths
from tests.runs.analysis.comparisons import GLYPHS, SINUSOID, train

BASES = {"sinusoid": SINUSOID, "glyphs": GLYPHS}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an empty folder for runs, which all tests in this module share."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def maml(store: Path) -> dict[str, str]:
    """Train MAML on each kind of task, as a reference. Returns the ID of each run, by task source."""
    return {source: train(store, base).id for source, base in BASES.items()}


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run a command with `--json` and return its JSON object."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


@pytest.mark.parametrize("name", ALGORITHMS.names())
def test_every_command_handles_the_algorithm(
    name: str,
    maml: dict[str, str],
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("METATUI_RUNS", str(store))
    monkeypatch.setattr(paths, "log_file", lambda: tmp_path / "metatui.log")
    kind = ALGORITHMS[name]
    source, base = next(item for item in BASES.items() if not list(kind.violations(item[1])))
    preset = tmp_path / "tiny.toml"
    preset.write_text(settings_toml(base, {}, (), whole=False))
    steps = list(range(change(base, {"algorithm.name": name}).evaluation_steps + 1))

    run = answer(capsys, "run", str(preset), "--set", f"algorithm.name={name}")
    assert run["status"] == "finished"
    assert run["test"]["steps"] == steps

    evaluation = answer(capsys, "evaluate", run["run"], "--tasks", "4")
    assert (evaluation["split"], evaluation["tasks"], evaluation["steps"]) == ("test", 4, steps)
    assert all(math.isfinite(value) for value in evaluation["loss"]["mean"])

    comparison = answer(capsys, "compare", maml[source], run["run"], "--steps", "3")
    assert [each["algorithm"] for each in comparison["runs"]] == ["maml", name]
    assert [each["steps"] for each in comparison["runs"]] == [[0, 1, 2, 3]] * 2
    assert len(comparison["pairs"]) == 1

    explained = answer(capsys, "explain", name)
    assert explained["rule"]
    assert explained["paper"]

    assert kind.title in report(compare(run["run"])).title
