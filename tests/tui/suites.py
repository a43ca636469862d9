"""Functions that create a user's suite and some of its runs on disk, without training."""

from __future__ import annotations

from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.runs.suites import Suite, SuiteManifest, read, user_dir
from tests.tui.fakes import saved_run

TEXT = """
[suite]
title = "Waves and glyphs"
source = "a chapter"
notes = "Small enough for a test."

[[compare]]
name = "waves"
seeds = [0, 1]
tasks = 20
steps = 3
target = 0.5
set = { training.iterations = 50 }
grid = { algorithm.name = ["maml", "fomaml"] }

[[compare]]
name = "glyphs"
set = { training.iterations = 200, task = { source = "glyphs", shots = 1 } }
grid = { algorithm.name = ["maml", "reptile", "scratch"] }
"""


def write_suite(text: str = TEXT, name: str = "mine") -> Suite:
    user_dir().mkdir(parents=True, exist_ok=True)
    path = user_dir() / f"{name}.toml"
    path.write_text(text)
    return read(path)


def make_suite(store: RunStore, finished: int = 4, stopped: int = 1) -> tuple[Suite, list[RunFolder]]:
    """Create a suite and some of its runs, and return both.

    The first `finished` runs are finished. The next `stopped` runs were stopped after a third of their meta-steps.
    """
    suite = write_suite()
    runs = []
    with SuiteManifest(suite, store) as ledger:
        for number, planned in enumerate(suite.runs[: finished + stopped]):
            done = number < finished
            steps = planned.iterations if done else planned.iterations // 3
            run = saved_run(store.root, planned.settings, name=f"run-{number}", steps=steps, test=done)
            ledger.add(run)
            runs.append(run)
    return suite, runs
