"""Sides in turn in one process, their medians, and first whether they compute the same."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from metatui.learning.hardware.devices import physical_cores
from tests.benchmarks.side import Make, Side
from tests.benchmarks.works import Work

AGREEMENT = 1e-8
"""Largest relative distance of two sides' movements from the common start, in float64."""

META_STEPS_COMPARED = 2
"""The second shows whether Adam carries over what it should."""

WARM_UP = 0.5
"""Seconds of untimed steps, at least one, at the beginning of each turn: another library's threads may still be
spinning on the cores, and the caches are full of its tensors."""

TURN = 1.0
"""Seconds of timed steps in each turn, at least one."""

SLOW = 1000.0
"""Milliseconds of a step from which on only the first turn is warmed up: what lingers is nothing beside it."""

FEWEST_ROUNDS = 5


class Disagree(Exception):
    """Two sides do not compute the same, so there is nothing to compare."""


@dataclass(frozen=True)
class Timed:
    """What a side took."""

    turns: tuple[float, ...]
    """The mean milliseconds of a meta-step in each of its turns."""
    torch_threads: int | None
    engine: str | None = None
    """Of metatui."""

    @property
    def ms(self) -> float:
        """The median turn."""
        return statistics.median(self.turns)


def check_agreement(work: Work, makes: Iterable[Make]) -> dict[str, float]:
    """Relative distance of each side from the first, by name.

    It is that of the meta-parameters after a few meta-steps in float64, in units of how far the first side moved.

    Raises:
        Disagree: where one is larger than AGREEMENT.
    """
    start = _flat({name: p.detach() for name, p in work.model.named_parameters()})
    reference, distances = start, dict[str, float]()
    for make in makes:
        side = make(work.exact())
        with threads(side.threads):
            for _ in range(META_STEPS_COMPARED):
                side.step()
        theta = side.theta()
        reached = _flat({name: theta[name] for name, _ in work.model.named_parameters()})
        if not distances:
            reference = reached
        distances[side.name] = distance = float((reached - reference).norm() / (reference - start).norm())
        if not distance <= AGREEMENT:
            raise Disagree(f"{side.name} moves elsewhere in '{work.name}': relative distance {distance:.1e}")
    return distances


def _flat(params: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([p.flatten().to("cpu", torch.float64, copy=True) for p in params.values()])


def choose_threads(side: Side) -> None:
    """Give `side` as many torch threads as it is faster with, one or one on each core, where it leaves that open."""
    if side.threads is not None:
        return
    took = {}
    for count in sorted({1, physical_cores()}):
        side.threads = count
        took[count] = turn(side)
    side.threads = min(took, key=lambda count: took[count])


def take_turns(sides: Sequence[Side], seconds: float) -> dict[str, Timed]:
    """All sides once in every round, for about `seconds` and at least FEWEST_ROUNDS rounds."""
    turns: dict[str, list[float]] = {side.name: [] for side in sides}
    began, rounds = time.perf_counter(), 0
    while rounds < FEWEST_ROUNDS or time.perf_counter() - began < seconds:
        for side in sides:
            before = turns[side.name]
            before.append(turn(side, warm=not before or before[-1] < SLOW))
        rounds += 1
    return {side.name: Timed(tuple(turns[side.name]), side.threads, side.engine) for side in sides}


def turn(side: Side, *, warm: bool = True) -> float:
    """Mean milliseconds of a meta-step, after a warm-up. The mean, because a run draws tasks ahead now and then."""
    with threads(side.threads):
        if warm:
            _each(side.step, WARM_UP)
        return 1000 * _each(side.step, TURN)


def _each(step: Callable[[], object], seconds: float) -> float:
    """Seconds that a step takes, of as many as fit into `seconds`, at least one."""
    steps, began = 0, time.perf_counter()
    while True:
        step()
        steps += 1
        took = time.perf_counter() - began
        if took >= seconds:
            return took / steps


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Torch's operations spread over `count` threads, or over all cores where it is None."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or physical_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)
