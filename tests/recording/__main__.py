"""Records the app in tmux at two sizes, and writes an SVG of each step to `pictures` or to the given folder.

`python -m tests.recording` records the steps of `tests.terminal.first_session`. With the options `--studies
chapter-small --runs DIR --compared 12 --explored 17 14 11`, it records the comparison and exploration of runs of the
suite `chapter-small` instead. The runs in DIR must be finished, and DIR must contain no other runs.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.recording.studies import studies
from tests.recording.svg import screen_svg
from tests.recording.tmux import Tmux
from tests.terminal.first_session import first_session
from tests.terminal.program import environment
from tests.terminal.terminal import Terminal

SIZES = ((80, 24), (160, 48))
ITERATIONS, WATCHED = 50_000, 700
"""Number of meta-steps of each recorded run, which must outlast the recording, and the meta-step at which its curves
are recorded."""

OTHERS: Final = (
    ("algorithm.name=fomaml",),
    ("algorithm.name=reptile", "algorithm.inner_steps=5", "algorithm.outer_lr=0.1", "algorithm.meta_batch=5"),
)
"""Changed settings of the runs that are compared with a run of the preset `quick` on the same tasks."""

WITH_TOASTS = {"02-form", "12-loaded"}
"""Steps that are recorded with a notification. Other steps are recorded when no notification is visible."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.recording")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent / "pictures")
    parser.add_argument("--studies", metavar="SUITE")
    parser.add_argument("--runs", type=Path, metavar="DIR")
    parser.add_argument("--compared", type=int, default=0, metavar="ROW")
    parser.add_argument("--explored", type=int, nargs="+", default=[0], metavar="ROW")
    options = parser.parse_args(arguments)
    if shutil.which("tmux") is None:
        print("Nothing recorded: tmux is not installed.")
        return 0
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.studies:
        rows = {"compared": options.compared, "explored": options.explored}
        record_studies(options.folder, options.studies, options.runs, **rows)
    else:
        record_first_session(options.folder)
    return 0


def record_first_session(folder: Path) -> None:
    with TemporaryDirectory(prefix="metatui-") as home:
        for settings in OTHERS:
            train(settings, home)
        for size in SIZES:
            with TemporaryDirectory(prefix="metatui-") as copy:
                shutil.copytree(home, copy, dirs_exist_ok=True)
                with Tmux(size=size, env=environment() | {"HOME": copy}) as terminal:
                    steps = first_session(terminal, iterations=ITERATIONS, watched=WATCHED, marked=range(1, 4))
                    record(steps, terminal, size, folder)


def record_studies(
    folder: Path,
    suite: str,
    runs: Path | None,
    *,
    compared: int = 0,
    explored: Sequence[int] = (0,),
    sizes: Sequence[tuple[int, int]] = SIZES,
    home: Path | None = None,
) -> None:
    """Record the comparison and exploration of the runs of a suite.

    Args:
        runs: folder of the suite's runs, or None for the default runs folder in `home`.
        compared, explored: see `studies`.
        home: home folder of the user, or None for an empty temporary folder.
    """
    for size in sizes:
        with TemporaryDirectory(prefix="metatui-") as fresh:
            env = environment() | {"HOME": str(home or fresh)}
            if runs is not None:
                env["METATUI_RUNS"] = str(runs.absolute())
            with Tmux(size=size, env=env) as terminal:
                record(studies(terminal, suite, compared=compared, explored=explored), terminal, size, folder)


def train(settings: Sequence[str], home: str) -> None:
    """Train the preset `quick` with changed `settings`, using `metatui run` instead of the app."""
    print(f"training {settings[0]}")
    assignments = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "metatui", "run", "quick", *assignments]
    subprocess.run(command, env=environment() | {"HOME": home}, check=True, capture_output=True)


def record(steps: Iterator[str], terminal: Tmux, size: tuple[int, int], folder: Path) -> None:
    """Write an SVG of the screen to `folder` after each of `steps`, then wait until the app ends."""
    for step in steps:
        if step not in WITH_TOASTS:
            terminal.until(lambda: not has_toast(terminal), "an empty corner")
        name = f"{size[0]}x{size[1]}-{step}"
        (folder / f"{name}.svg").write_text(screen_svg(terminal.capture(), *size, title=f"metatui, {name}"))
        print(name)
    while terminal.look():
        pass


def has_toast(terminal: Terminal) -> bool:
    """Return whether a notification is visible.

    It is recognised by the left edge of a box in the same column of two consecutive rows.
    """
    edges = [row.find("▌") for row in terminal.rows]
    return any(one == next_one >= 0 for one, next_one in pairwise(edges))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
