"""Runs the scenarios, each file in a process of its own, because torch must find the devices when it is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cuda.guard import build, reason_unavailable
from tests.cuda.run import environment

SCENARIOS = sorted(path.name for path in (Path(__file__).parent / "scenarios").glob("[!_]*.py"))
REASON = reason_unavailable()

pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_on_simulated_cuda(scenario: str, tmp_path: Path) -> None:
    build()
    file = Path(__file__).parent / "scenarios" / scenario
    arguments = ["-m", "pytest", "-n", "0", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'child'}", str(file)]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
