"""The recording of the studies works on a suite that is made in a moment."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_suite import TINY
from tests.recording.__main__ import record_studies
from tests.terminal.program import environment

STEPS = 5


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_every_step_is_recorded(tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    suites = home / ".config" / "metatui" / "presets" / "suites"
    suites.mkdir(parents=True)
    out.mkdir()
    (suites / "tiny.toml").write_text(TINY)
    command = [sys.executable, "-m", "metatui", "suite", "tiny"]
    subprocess.run(command, env=environment() | {"HOME": str(home)}, check=True, capture_output=True)
    record_studies(out, "tiny", None, compared=1, explored=(1, 0), sizes=[(80, 24)], home=home)
    recorded = {file.stem: file.read_text() for file in out.glob("*.svg")}
    assert len(recorded) == STEPS
    assert "In words" in recorded["80x24-18-compare"]
    assert "Held-out test task 0" in recorded["80x24-19-explorer"]
