"""Compare meta-steps of metatui with those of other libraries: `python -m tests.benchmarks`.

All libraries get the same fixed tasks and start from the same weights. The forward pass, the backward pass and the
outer step are timed. First, all libraries must reach the same meta-parameters in float64. Then they take turns in one
process, in float32. Each turn begins with untimed steps, so that the threads of the previous library are idle again.
The figure of a turn is the mean time of its steps, and the figure of a library is the median over its turns.

metatui uses the engine that `auto` chooses. Compilation is not timed, and the time of metatui includes the metrics of
a meta-step. The other PyTorch libraries use contiguous tensors, an unmodified network, and one torch thread or one per
core, whichever is faster. Reptile is compared with a loop written in PyTorch without another library. `higher` is
installed with metatui; learn2learn and JAX take part if they can be imported.

See also `tests.benchmarks.product` for the overhead of a real run, `tests.benchmarks.memory` for the memory of long
inner loops, and `tests.benchmarks.finn_table` for Table 1 of Finn et al. 2017.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.benchmarks.floor import floor_ms
from tests.benchmarks.report import OWN, machine, row, table, write_json
from tests.benchmarks.side import Make, Side, UnavailableError
from tests.benchmarks.sides_higher import higher_side
from tests.benchmarks.sides_jax import jax_side
from tests.benchmarks.sides_learn2learn import learn2learn_side
from tests.benchmarks.sides_metatui import OTHERS, by_engine, metatui_side
from tests.benchmarks.sides_plain import plain_side
from tests.benchmarks.timing import Timings, check_agreement, choose_threads, take_turns
from tests.benchmarks.works import Work, works


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    rows, printed = [], set[str]()
    for work in works(options.device):
        if options.only.lower() not in work.name.lower():
            continue
        print(f"{work.name} …", file=sys.stderr, flush=True)
        timed, why_not = measure_work(work, makers(work, engines=options.engines), options.seconds)
        for sentence in why_not:
            if sentence not in printed:
                print(sentence, file=sys.stderr, flush=True)
        printed.update(why_not)
        rows.append(row(work, timed))
        if options.device != "cpu":
            rows[-1]["floor_ms"] = floor_ms(work)
        write_json(options.json, {"machine": machine(options.device), "rows": rows})
    if not rows:
        raise SystemExit(f"--only is {options.only!r}, but must be part of a row's name")
    print(table(rows))
    for found in rows if options.device != "cpu" else []:
        own, floor = found["sides"][OWN]["ms"], found["floor_ms"]
        print(f"\nThe floor is {floor:.3g} ms: {OWN} reaches {floor / own:.0%} of what the device could do.")


def measure_work(work: Work, makes: Sequence[Make], seconds: float) -> tuple[dict[str, Timings], list[str]]:
    """Time the meta-steps of all available libraries for `work`.

    Args:
        makes: functions that prepare the meta-steps of each library, metatui first.

    Returns:
        The times of each available library by name, and a message for each unavailable library.

    Raises:
        DisagreementError: if the libraries do not compute the same results.
        UnavailableError: if metatui is unavailable.
    """
    torch.compiler.reset()  # functions compiled for the previous row slow down every call
    sides: dict[Make, Side] = {}
    why_not = []
    for make in makes:
        try:
            sides[make] = make(work)
        except UnavailableError as sentence:
            if not sides:  # without metatui there is nothing to compare
                raise
            why_not.append(str(sentence))
    # In float64, `auto` may choose another engine than the one that is timed.
    check_agreement(work, [by_engine(side.engine) if side.engine else make for make, side in sides.items()])
    for side in sides.values():
        choose_threads(side)
    return take_turns(list(sides.values()), seconds), why_not


def makers(work: Work, *, engines: bool = False) -> list[Make]:
    """Return functions that prepare the meta-steps of all libraries to compare for `work`, metatui first.

    Args:
        engines: whether to include metatui with each engine in `OTHERS`, in addition to `auto`.
    """
    own = [metatui_side, *(by_engine(engine) for engine in OTHERS if engines)]
    if work.is_reptile:
        return [*own, plain_side]
    peers: list[Make] = [higher_side, learn2learn_side]
    if work.device.type == "cpu":
        peers.append(jax_side(unrolled=False))
        if work.settings.is_classification:
            peers.append(jax_side(unrolled=True))
    return [*own, *peers]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows whose name contains TEXT")
    parser.add_argument("--seconds", type=float, default=20.0, help="approximate seconds for each row (default: 20)")
    parser.add_argument("--engines", action="store_true", help="also measure metatui's other engines")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda, which has a separate row with 32 tasks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the raw figures to")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
