"""Test that a run imports all libraries before it starts, or reports why this is impossible."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from metatui.learning.hardware import loading

CHILD = """
import json, resource, sys
from metatui.utils.errors import MetatuiError
from metatui.config.fields import change
from metatui.runs.execution.session import Session
from metatui.config.settings import Settings
tiny = {"training.iterations": 2, "evaluation.every": 1, "evaluation.tasks": 2, "evaluation.test_tasks": 2,
        "model.hidden": (4,), "compute.engine": "batched", "compute.device": "cpu"}
limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    session = Session.start(change(Settings(), tiny), runs_dir=sys.argv[1])
except MetatuiError as error:
    print(json.dumps({"error": str(error)}))
else:
    before = set(sys.modules)
    events = [type(event).__name__ for event in session]
    imported = [name for name in set(sys.modules) - before if not name.startswith("torch.")]
    print(json.dumps({"last": events[-1], "imported": imported}))
"""


def run_child(runs: Path, limit: int) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(runs), str(limit)], capture_output=True, text=True, timeout=120, check=True
    )
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_run_imports_nothing_after_its_start(tmp_path: Path) -> None:
    assert run_child(tmp_path, 0) == {"last": "Finished", "imported": []}


def test_too_little_address_space_is_reported_before_start(tmp_path: Path) -> None:
    message = str(run_child(tmp_path / "runs", 400 * loading.MIB)["error"])
    assert "do not fit in the 400 MiB of address space that this process may use (ulimit -v)" in message
    assert not (tmp_path / "runs").exists()


def test_import_error_without_limit_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(loading, "import_module", fail)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY,) * 2)
    with pytest.raises(ImportError):
        loading.load_libraries.__wrapped__()
