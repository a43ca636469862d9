"""Tests that startup imports no large libraries, so that commands and the app start quickly."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

import metatui
from metatui.learning.evaluation.significance import PairedTest, WelchTest

NOT_FOR_FRAMES = ("torch", "torchvision", "higher", "scipy", "numpy", "plotext", "matplotlib", "jinja2")
NOT_FOR_COMMANDS = (*NOT_FOR_FRAMES, "textual")

COMMANDS = (
    "import metatui; metatui.Settings(); metatui.load_preset('quick')",
    "import metatui.tui",
    "import metatui.runs.storage.store, metatui.runs.storage.summary, metatui.runs.execution.session",
    *(
        f"from metatui.cli import main; main({arguments!r})"
        for arguments in (
            ["--version"],
            ["--help"],
            ["presets", "list"],
            ["presets", "show", "quick", "--json"],
            ["runs", "--runs-dir", "/nowhere"],
            ["run", "--help"],
            ["bench", "--help"],
            ["compare", "--help"],
            ["run", "quick", "--set", "task.shots=0"],
        )
    ),
)

FIRST_FRAME = """
import asyncio
from pathlib import Path
from metatui.config.settings import Settings
from metatui.tui.launch import make_app

async def show() -> None:
    app = make_app(settings=Settings(), runs_dir=Path("runs"))
    async with app.run_test(size=(120, 40)):
        assert app.screen.is_mounted

asyncio.run(show())
"""


def imported_by(pieces: Sequence[str], libraries: Sequence[str], folder: Path) -> dict[str, list[str]]:
    """Run `pieces` of code one after the other in a new process, and return which of `libraries` each piece imports."""
    program = f"""
import contextlib, io, json, sys
imported = {{}}
for piece in {list(pieces)!r}:
    before = set(sys.modules)
    with contextlib.redirect_stdout(io.StringIO()):
        exec(piece, {{"__name__": "__main__"}})
    imported[piece] = sorted({{*{list(libraries)!r}}} & (set(sys.modules) - before))
print(json.dumps(imported))
"""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "TERM": "xterm-256color"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=folder,
        env=environment,
    )
    result: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_commands_start_without_heavy_libraries(tmp_path: Path) -> None:
    imported = imported_by(COMMANDS, NOT_FOR_COMMANDS, tmp_path)
    assert imported == {piece: [] for piece in COMMANDS}


def test_first_frame_needs_no_heavy_libraries(tmp_path: Path) -> None:
    assert imported_by([FIRST_FRAME], NOT_FOR_FRAMES, tmp_path) == {FIRST_FRAME: []}


def test_results_of_tests_are_unpickled_without_torch(tmp_path: Path) -> None:
    """Results of significance tests are part of the pickled comparisons that the helper process sends to the app."""
    results = PairedTest(2, 0, *7 * (0.5,)), WelchTest(*5 * (0.5,))
    piece = f"import pickle; pickle.loads({pickle.dumps(results)!r})"
    assert imported_by([piece], NOT_FOR_FRAMES, tmp_path) == {piece: []}


def test_imports_are_detected(tmp_path: Path) -> None:
    assert imported_by(["import json.tool", "import numpy"], ["numpy"], tmp_path)["import numpy"] == ["numpy"]


def test_public_names_exist() -> None:
    for name in metatui.__all__:
        assert getattr(metatui, name) is not None
    assert dir(metatui) == sorted(metatui.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = metatui.nonsense


def test_version_matches_pyproject() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    assert project["project"]["version"] == metatui.__version__
