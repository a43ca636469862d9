"""Measure the cost of the app and compare it with limits: `python -m tests.benchmarks.app_cost`.

The app runs on a pseudo-terminal of 120x40 cells and is measured by another process. This works only on Linux. To
compare two kinds of processes, the benchmark runs them alternately. It prints CPU times as well as wall times, because
other work on the machine affects CPU times less. The benchmark is not part of the test suite.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Sequence

from tests.benchmarks import app_history, app_running, app_speed, app_start
from tests.benchmarks.app_table import HEAD, Figure, rows

PRESETS = ("sinusoid-maml", "glyphs")
WORK = (("sinusoid-maml", 15_000), ("glyphs", 200))
"""Presets and their numbers of meta-steps, which make each run take about twenty seconds on two cores."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("start", "history", "running", "speed"), action="append")
    parser.add_argument("--starts", type=int, default=10, help="number of starts of each kind")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds of training to count bytes in")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of keys, and of runs with and without the app")
    parser.add_argument("--set", action="append", default=[], metavar="GROUP.KEY=VALUE", help="setting of all runs")
    chosen = parser.parse_args()
    options = [word for each in chosen.set for word in ("--set", each)]
    sections: dict[str, Callable[[], Sequence[Figure]]] = {
        "start": lambda: app_start.measure(chosen.starts),
        "history": app_history.measure,
        "running": lambda: app_running.measure(PRESETS, seconds=chosen.seconds, rounds=chosen.rounds, options=options),
        "speed": lambda: app_speed.measure(WORK, rounds=chosen.rounds, options=options),
    }
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start\n")
    print("\n".join(HEAD))
    for name, section in sections.items():
        if not chosen.only or name in chosen.only:
            for line in rows(section()):
                print(line, flush=True)
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
