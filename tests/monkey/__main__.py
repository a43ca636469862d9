"""Sends random input to the app while real runs train, then checks the app and the runs."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from metatui.runs.storage.store import RunStore
from metatui.tui.launch import make_app
from tests.monkey.actor import Monkey, still_answers
from tests.monkey.runs import SmallSessions, small, small_suite, stop_all, wrong_with

CHECK_EVERY = 500
"""Number of actions between checks that the app still responds."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.monkey", description=__doc__)
    parser.add_argument("--actions", type=int, default=20_000, help="number of actions (default: 20000)")
    parser.add_argument("--seed", type=int, help="seed of the random input (default: random)")
    options = parser.parse_args()
    seed = random.randrange(2**31) if options.seed is None else options.seed
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("CONFIG", "DATA", "STATE", "CACHE"):
            os.environ[f"XDG_{name}_HOME"] = str(Path(folder) / name.lower())
        os.environ.pop("TMUX", None)
        root = Path(folder) / "runs"
        monkey = Monkey(random.Random(seed))
        began = time.monotonic()
        # The app writes exported files into the current folder.
        with contextlib.chdir(folder), small_suite(Path(folder) / "suites"):
            try:
                starts = asyncio.run(_perform_actions(monkey, root, options.actions))
            finally:
                stop_all(root)
        wrong = wrong_with(root)
        runs = len(RunStore(root).runs())
    done = ", ".join(f"{count:,} {kind}" for kind, count in sorted(monkey.done.items()))
    print(f"{sum(monkey.done.values()):,} actions in {time.monotonic() - began:.0f} s ({done}); the app was started "
          f"{starts} times; {runs} runs")  # fmt: skip
    print("\n".join(wrong) or "every run is complete, and its status is correct")
    return 1 if wrong else 0


async def _perform_actions(monkey: Monkey, root: Path, actions: int) -> int:
    """Perform `actions` random actions, restarting the app each time they quit it, and return the number of starts."""
    starts, left = 0, actions
    while left > 0:
        starts += 1
        app = make_app(settings=small(), start=starts == 1, runs_dir=root, sessions=SmallSessions(root))
        async with app.run_test(size=(80, 24), notifications=True) as pilot:
            while left > 0 and app.is_running and not app._exit:
                left -= await monkey.act(app, pilot, min(CHECK_EVERY, left))
                if app.is_running and not app._exit:
                    assert await still_answers(app, pilot), "F1 no longer opens the help"
                    print(f"{actions - left:,} actions, {_memory() / 2**20:.0f} MiB", flush=True)
        assert app.return_code in (0, None), f"the app ended with {app.return_code}"
    return starts


def _memory() -> int:
    """Return the resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
