"""Run the tests in `scenarios` in a child process, because torch must find the simulated devices on import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cuda.guard import reason_unavailable
from tests.cuda.run import environment

FOLDER = Path(__file__).parent / "scenarios"

REASON = reason_unavailable()


@pytest.mark.skipif(REASON is not None, reason=REASON or "")
def test_scenarios(tmp_path: Path) -> None:
    files = sorted(str(path) for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "conftest"))
    arguments = ["-m", "pytest", "-n", "0", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'child'}", *files]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
