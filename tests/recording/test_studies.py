"""End-to-end test of recording the comparison and exploration of a small suite."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from metatui.runs.execution.session import Session
from metatui.runs.storage.store import RunStore
from metatui.runs.suites import SuiteManifest, read
from tests.cli.test_suite import TINY
from tests.recording.__main__ import record_studies

STEPS = 5


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
@pytest.mark.skipif(not os.environ.get("METATUI_RECORDING"), reason="takes a minute; METATUI_RECORDING=1 runs it")
def test_every_step_is_recorded(tmp_path: Path) -> None:
    home, out, runs = tmp_path / "home", tmp_path / "out", tmp_path / "runs"
    suites = home / ".config" / "metatui" / "presets" / "suites"
    suites.mkdir(parents=True)
    out.mkdir()
    (suites / "tiny.toml").write_text(TINY)
    suite = read(suites / "tiny.toml")
    with SuiteManifest(suite, RunStore(runs)) as manifest:
        for planned in suite.runs:
            session = Session.start(planned.settings, runs_dir=runs, preset=planned.origin)
            for _ in session:
                pass
            manifest.add(session.run)
    record_studies(out, "tiny", runs, compared=1, explored=(1, 0), sizes=[(80, 24)], home=home)
    recorded = {file.stem: file.read_text() for file in out.glob("*.svg")}
    assert len(recorded) == STEPS
    assert "In words" in recorded["80x24-18-compare"]
    assert "Held-out test task 0" in recorded["80x24-19-explorer"]
