"""Kill runs and compare them with uninterrupted runs, or monitor the memory of runs: `python -m tests.survival`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.survival.app_memory import watch_app
from tests.survival.cases import CASES
from tests.survival.fork_server import ForkServer
from tests.survival.killing import survive
from tests.survival.memory import watch


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.survival", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="minimum number of kills in total")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random kill points")
    parser.add_argument("--only", default="", help="part of ALGORITHM/ENGINE, such as maml/loop")
    commands = parser.add_subparsers(dest="command")
    memory = commands.add_parser("memory", help="check that the memory of long runs does not grow")
    memory.add_argument("--minutes", type=float, default=1.0, help="minutes for each algorithm and engine")
    memory.add_argument("--only", default="", help="part of ALGORITHM/ENGINE")
    memory.add_argument("--device", default="cpu")
    app_memory = commands.add_parser("app-memory", help="check that the memory of the app and its run does not grow")
    app_memory.add_argument("--minutes", type=float, default=30.0, help="minutes of training")
    app_memory.add_argument("--warm-up", type=float, default=5.0, help="minutes before memory is compared")
    app_memory.add_argument("--preset", default="quick")
    given = parser.parse_args()
    if given.command == "app-memory":
        return watch_app(preset=given.preset, minutes=given.minutes, warm_up=given.warm_up)
    if given.command == "memory":
        return watch(minutes=given.minutes, only=given.only, device=given.device)
    return kill(given.kills, given.seed, given.only)


def kill(kills: int, seed: int, only: str) -> int:
    """Kill a run of each case several times, repeat this until there are `kills` kills, and return the exit code.

    Args:
        only: text that the name ALGORITHM/ENGINE of a case must contain; other cases are skipped.
    """
    cases = [case for case in CASES if only in f"{case.algorithm}/{case.engine}"]
    each = -(-kills // len(cases))
    began, done, runs, inexact = time.monotonic(), 0, 0, 0
    print(f"{'algorithm':11}{'engine':10}{'exact':7}killed in  (run)", flush=True)
    with tempfile.TemporaryDirectory() as folder, ForkServer() as server:
        while done < kills or runs < len(cases):
            case = cases[runs % len(cases)]
            result = survive(case, Path(folder) / str(runs), server, kills=each, seed=1000 * seed + runs)
            runs += 1
            done += result.kills
            inexact += bool(result.differences)
            where = ", ".join(f"{times} {place}" for place, times in sorted(result.killed_at.items()))
            exact = "no" if result.differences else "yes"
            print(f"{case.algorithm:11}{case.engine:10}{exact:7}{where}  ({case.title})", flush=True)
            if result.differences:
                print(f"{'':28}differs: {', '.join(result.differences[:8])}", flush=True)
    print(f"{done} kills of {runs} runs, {inexact} of them not exact; {time.monotonic() - began:.0f} s")
    return 1 if inexact else 0


if __name__ == "__main__":
    sys.exit(main())
