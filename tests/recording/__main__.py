"""Records the journey in tmux at two sizes, one SVG a step, beside this file or in the folder that is named."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.recording.svg import screen_svg
from tests.recording.tmux import Tmux
from tests.terminal.journey import journey
from tests.terminal.program import environment
from tests.terminal.watching import Terminal

SIZES = ((80, 24), (160, 48))
ITERATIONS, WATCHED = 50_000, 700
"""Enough that the journey is over before the run, and that there are curves to look at."""

OTHERS: Final = (
    ("algorithm.name=fomaml",),
    ("algorithm.name=reptile", "algorithm.inner_steps=5", "algorithm.outer_lr=0.1", "algorithm.meta_batch=5"),
)
"""Runs that are there before, on the same tasks as the preset `quick`, to be seen beside it."""

WITH_TOASTS = {"02-form", "12-loaded"}
"""Steps that are about what the app says in a corner; for the others it is waited until that is gone."""


def main(folder: Path) -> int:
    if shutil.which("tmux") is None:
        print("Nothing is recorded: tmux is not installed.")
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="metatui-") as home:
        for settings in OTHERS:
            train(settings, home)
        for size in SIZES:
            with TemporaryDirectory(prefix="metatui-") as copy:
                shutil.copytree(home, copy, dirs_exist_ok=True)
                record(size, folder, copy)
    return 0


def train(settings: Sequence[str], home: str) -> None:
    """A run of the preset `quick` with other settings, without the app."""
    print(f"training {settings[0]}")
    assignments = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "metatui", "run", "quick", *assignments]
    subprocess.run(command, env=environment() | {"HOME": home}, check=True, capture_output=True)


def record(size: tuple[int, int], folder: Path, home: str) -> None:
    """The steps of the journey at `size`."""
    with Tmux(size=size, env=environment() | {"HOME": home}) as terminal:
        for step in journey(terminal, iterations=ITERATIONS, watched=WATCHED, marked=range(1, 4)):
            if step not in WITH_TOASTS:
                terminal.until(lambda: not has_toast(terminal), "an empty corner")
            name = f"{size[0]}x{size[1]}-{step}"
            (folder / f"{name}.svg").write_text(screen_svg(terminal.capture(), *size, title=f"metatui, {name}"))
            print(name)
        while terminal.look():
            pass


def has_toast(terminal: Terminal) -> bool:
    """Whether the app says something in a corner: two rows with the edge of a box in the same column."""
    edges = [row.find("▌") for row in terminal.rows]
    return any(one == next_one >= 0 for one, next_one in pairwise(edges))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent))
