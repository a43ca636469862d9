"""Damage files, and report each case in which metatui neither reads them nor raises a one-sentence error."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from tests.fuzz import runner
from tests.fuzz.runner import Result
from tests.fuzz.targets import TARGETS

FINE = ("read", "refused")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="number of cases (default: 10000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, help="seed of the cases (default: random)")
    parser.add_argument("--only", choices=sorted(TARGETS), help="run only the cases of one target")
    arguments = parser.parse_args()
    seed = random.randrange(2**31) if arguments.seed is None else arguments.seed
    print(f"seed {seed}")
    began, results = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        runner.prepare(Path(folder))
        for result in runner.results(
            Path(folder), seed, range(arguments.first, arguments.first + arguments.cases), arguments.only
        ):
            results.append(result)
            if result["outcome"] not in FINE:
                print(f"case {result['case']} ({result['target']}): {result['outcome']}: {result['how']}")
                print("    " + result["detail"].strip().replace("\n", "\n    "), flush=True)
            elif len(results) % 500 == 0:
                print(f"{len(results):,} cases", flush=True)
    print(table(results))
    bad = sum(result["outcome"] not in FINE for result in results)
    print(f"{len(results):,} cases in {time.monotonic() - began:.0f} s: {bad} failed")
    return 1 if bad else 0


def table(found: list[Result]) -> str:
    """Format a table with the number of cases, the outcomes, and the maximum time and memory use for each target."""
    rows = [f"{'':16}{'cases':>7}{'read':>7}{'refused':>9}{'wrong':>7}{'longest':>10}{'memory':>10}"]
    by_target: dict[str, list[Result]] = defaultdict(list)
    for result in found:
        by_target[result["target"]].append(result)
    for name, results in sorted(by_target.items()):
        ends = Counter(result["outcome"] for result in results)
        wrong = len(results) - ends["read"] - ends["refused"]
        longest = max(result.get("seconds", 0.0) for result in results)
        most = max(result.get("bytes", 0) for result in results) / 2**20
        rows.append(
            f"{name:16}{len(results):7,}{ends['read']:7,}{ends['refused']:9,}{wrong:7,}{longest:8.2f} s{most:6,.0f} MiB"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
