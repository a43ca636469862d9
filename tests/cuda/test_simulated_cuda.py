"""Runs the scenarios in child processes, because torch must find the devices when it is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cuda.guard import build, reason_unavailable
from tests.cuda.run import environment

SCENARIOS = (("device", "captures", "memory", "views"), ("runs",))
"""Files that share a process, because importing torch takes seconds."""

FOLDER = Path(__file__).parent / "scenarios"

REASON = reason_unavailable()

pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")


@pytest.mark.parametrize("scenarios", SCENARIOS, ids="-".join)
def test_on_simulated_cuda(scenarios: tuple[str, ...], tmp_path: Path) -> None:
    build()
    files = [str(FOLDER / f"{name}.py") for name in scenarios]
    arguments = ["-m", "pytest", "-n", "0", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'child'}", *files]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_scenario_is_run() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "conftest"}
    assert {name for group in SCENARIOS for name in group} == files
