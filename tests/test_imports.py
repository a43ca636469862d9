"""What is light stays light: these need no torch and no textual, so the shell's prompt is back at once."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import metatui

HEAVY = ("torch", "torchvision", "textual", "scipy", "plotext", "higher", "numpy")


@pytest.mark.parametrize(
    "code",
    [
        "import metatui; metatui.Settings(); metatui.load_preset('quick')",
        "import metatui.tui",
        "from metatui.cli import main; main(['--version'])",
        "from metatui.cli import main; main(['--help'])",
        "from metatui.cli import main; main(['presets', 'list'])",
        "from metatui.cli import main; main(['presets', 'show', 'quick', '--json'])",
        "from metatui.cli import main; main(['runs', '--runs-dir', '/nowhere'])",
        "from metatui.cli import main; main(['run', '--help'])",
        "from metatui.cli import main; main(['run', 'quick', '--set', 'task.shots=0'])",
        "import metatui.runs.storage.store, metatui.runs.storage.summary, metatui.runs.execution.session",
    ],
)
def test_imports_nothing_heavy(code: str) -> None:
    check = f"import sys; print('HEAVY', *sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "HEAVY"


def test_everything_the_library_promises_is_there() -> None:
    for name in metatui.__all__:
        assert getattr(metatui, name) is not None
    assert dir(metatui) == sorted(metatui.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = metatui.nonsense


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    assert project["project"]["version"] == metatui.__version__
