"""Small runs that train while the app receives random input, and checks of their folders afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

from metatui.config.fields import parse
from metatui.config.schedule import Planned
from metatui.config.settings import Settings
from metatui.events import Command, Stop
from metatui.runs.execution.control import LiveRun
from metatui.runs.storage.checkpoints import newest_checkpoint
from metatui.runs.storage.run_folder import RunFolder, has_died
from metatui.runs.storage.store import RunStore, live_runs
from metatui.runs.suites import SuiteManifest, background, files
from metatui.tui.controllers.sessions import Sessions, StartingRun
from metatui.utils.errors import BadInput, MetatuiError
from tests.metrics import read_all

AT_ONCE = 2
"""Maximum number of runs that train at the same time."""

PATIENCE = 360
"""Maximum number of half-second waits for the runs to stop."""


def small() -> Settings:
    """Return settings of a run of a few minutes, with a small network and frequent validations and checkpoints."""
    return parse(
        {
            "model": {"hidden": (8, 8)},
            "algorithm": {"meta_batch": 2},
            "training": {"iterations": 200_000},
            "evaluation": {"every": 500, "tasks": 10, "test_tasks": 10, "inner_steps": 2},
            "compute": {"device": "cpu", "engine": "batched", "threads": 1},
            "checkpoint": {"every": 2},
        }
    )


SUITE = """
[suite]
title = "Small runs"
source = "a monkey"
notes = "Each takes some seconds."

[[compare]]
name = "waves"
seeds = [0, 1, 2]
grid = { algorithm.name = ["maml", "fomaml"] }

[compare.set]
model.hidden = [8, 8]
training.iterations = 2000
evaluation = { every = 500, tasks = 10, test_tasks = 10, inner_steps = 2 }
compute = { device = "cpu", engine = "batched", threads = 1 }
"""


class SmallSessions(Sessions):
    """Starts real runs for the app, but always with the settings of `small`, and at most `AT_ONCE` at the same time."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._store = RunStore(root)

    def start(self, settings: Settings, preset: str | None, changes: Sequence[Planned] = ()) -> StartingRun:
        self._check()
        return super().start(small(), preset)

    def resume(self, run_id: str) -> StartingRun:
        self._check()
        return super().resume(run_id)

    def _check(self) -> None:
        if len(live_runs(self._store)) >= AT_ONCE:
            raise MetatuiError(f"{AT_ONCE} runs are training already")


@contextmanager
def small_suite(folder: Path) -> Iterator[None]:
    """Replace the bundled suites, which take hours, with a small suite in `folder`."""
    folder.mkdir()
    (folder / "small.toml").write_text(SUITE)
    with patch.object(files, "bundled_dir", lambda: folder):
        yield


def stop_all(root: Path) -> None:
    """Stop the suite and all runs, and wait until the runs have ended.

    Raises:
        TimeoutError: if a run is still training after `PATIENCE` waits.
    """
    store, stop = RunStore(root), Stop()
    for suite in files.bundled():
        with suppress(BadInput):  # the suite is not running
            background.stop(SuiteManifest(suite, store))
    for _ in range(PATIENCE):
        live = [each.run for each in live_runs(store)]
        if not live:
            return
        for run in live:
            _submit(run, stop)
        time.sleep(0.5)  # the end of another process cannot be awaited
    raise TimeoutError(f"{len(live)} runs do not stop")


def _submit(run: RunFolder, command: Command) -> None:
    try:
        live = LiveRun.attach(run)
    except MetatuiError:  # it has just ended, or has not started
        return
    live.submit(command)
    live.close()


def wrong_with(root: Path) -> list[str]:
    """Return a description of each problem in the runs in `root`, all of which must have ended."""
    return [f"{run.path.name}: {what}" for run in RunStore(root).runs() for what in _wrong(run)]


def _wrong(run: RunFolder) -> list[str]:
    problems_found = []
    status = run.status()
    if status not in ("finished", "stopped", "interrupted"):
        problems_found.append(f"its status is {status}")
    if has_died(run.journal(), status):
        problems_found.append("its process was killed or crashed")
    run.settings(), run.evaluation(), run.views()
    steps = [step.iteration for step in read_all(run.metrics())]
    if steps != list(range(1, len(steps) + 1)):
        problems_found.append("its meta-steps are not consecutive")
    state, problems = newest_checkpoint(run.checkpoints_path)
    problems_found += problems
    reached = int(state.values["iteration"]) if state else 0
    if status in ("finished", "stopped") and reached != len(steps):
        problems_found.append(f"its checkpoint is of meta-step {reached}, but its metrics go to {len(steps)}")
    if run.crash_path.exists():
        problems_found.append("it crashed")
    return problems_found
