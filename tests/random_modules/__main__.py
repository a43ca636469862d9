"""Compare `metatui.meta_gradient` with plain autograd on random modules and losses, in float64."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection

import torch

from metatui.learning.checks.edge_cases import CHOICES, EngineChoice
from tests.random_modules.case import make_case
from tests.random_modules.judge import Kind, Verdict, judge, reference

COLUMNS: tuple[Kind, ...] = (
    "agrees", "refused", "unchecked", "wrong", "refused without need", "raw error", "changed", "crashed",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.random_modules", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="number of modules (2000)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the first module; each further module has the next seed (0)"
    )
    parser.add_argument("--engine", choices=CHOICES, action="append", help="judge only this engine; may be repeated")
    parser.add_argument("--verbose", action="store_true", help="print every verdict, with its reason")
    given = parser.parse_args()
    engines = tuple(given.engine or CHOICES)
    began, table, failed = time.monotonic(), Counter[tuple[str, bool, str]](), 0
    for verdict, words in verdicts(range(given.seed, given.seed + given.count), engines):
        table[verdict.engine, verdict.first_order, verdict.kind] += 1
        failed += not verdict.ok
        if given.verbose or not verdict.ok:
            order = "first" if verdict.first_order else "second"
            print(f"{verdict.kind}: {verdict.engine}, {order} order: {verdict.detail}\n    {words}")
            command = f"python -m tests.random_modules --count 1 --seed {verdict.seed} --engine {verdict.engine}"
            print("" if verdict.ok else f"    {command}", flush=True)
    print(f"{'engine':10}{'order':8}" + "".join(f"{kind:>{_width(kind)}}" for kind in COLUMNS))
    for engine in engines:
        for first_order in (False, True):
            counts = "".join(f"{table[engine, first_order, kind]:{_width(kind)},}" for kind in COLUMNS)
            print(f"{engine:10}{'first' if first_order else 'second':8}{counts}")
    print(f"{given.count:,} modules in {time.monotonic() - began:.0f} s, {failed:,} failures")
    return 1 if failed else 0


def _width(kind: str) -> int:
    return max(9, len(kind) + 3)


def verdicts(seeds: range, engines: tuple[EngineChoice, ...]) -> Iterator[tuple[Verdict, str]]:
    """Yield each verdict on the cases of `seeds`, with the description of the case.

    Child processes run the engines, so that a crash affects only one case.
    """
    context = multiprocessing.get_context("fork")
    while seeds:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_judge_all, args=(seeds, engines, sender))
        process.start()
        sender.close()
        words, done = "", 0
        try:
            while seeds:
                match receiver.recv():
                    case Verdict() as verdict:
                        done += 1
                        yield verdict, words
                    case str(words):
                        done = 0
                    case None:
                        seeds = seeds[1:]
        except EOFError:
            process.join()
            engine, first_order = engines[done % len(engines)], done >= len(engines)
            crashes = context.Process(target=_reference, args=(seeds[0], first_order))
            crashes.start()
            crashes.join()
            kind: Kind = "unchecked" if crashes.exitcode else "crashed"
            detail = f"exit code {process.exitcode}{', and plain autograd crashes too' if crashes.exitcode else ''}"
            yield Verdict(seeds[0], engine, first_order, kind, detail), words
            seeds = seeds[1:]
        process.join()


def _reference(seed: int, first_order: bool) -> None:
    torch.set_num_threads(1)
    reference(make_case(seed), first_order)


def _judge_all(seeds: range, engines: tuple[EngineChoice, ...], sender: Connection) -> None:
    """Send, for each seed, the description of the case, then the verdicts on it, then None."""
    torch.set_num_threads(1)
    for seed in seeds:
        case = make_case(seed)
        sender.send(case.words)
        for verdict in judge(case, engines):
            sender.send(verdict)
        sender.send(None)


if __name__ == "__main__":
    sys.exit(main())
