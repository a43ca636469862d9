"""Agreement and timing of sides, which alternate in one process."""

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
"""Maximum relative distance between the updates of two sides, in float64."""

META_STEPS_COMPARED = 2
"""Number of meta-steps compared. The second one depends on Adam's state."""

WARM_UP = 0.5
"""Seconds of untimed steps, at least one, at the beginning of each turn. Threads of the previous library may still be
spinning, and its tensors fill the caches."""

TURN = 1.0
"""Seconds of timed steps in each turn, at least one."""

SLOW = 1000.0
"""Milliseconds of a step above which only the first turn has a warm-up."""

FEWEST_ROUNDS = 5


class Disagree(Exception):
    """Raised if two sides do not compute the same results."""


@dataclass(frozen=True)
class Timed:
    """Times of a side."""

    turns: tuple[float, ...]
    """Mean milliseconds of a meta-step in each turn."""
    torch_threads: int | None
    engine: str | None = None
    """metatui's engine."""

    @property
    def ms(self) -> float:
        """Median of the turns in milliseconds."""
        return statistics.median(self.turns)


def check_agreement(work: Work, makes: Iterable[Make]) -> dict[str, float]:
    """Compute the relative distance of each side from the first, by name.

    This is the distance between the meta-parameters after a few meta-steps in float64, relative to the update of the
    first side.

    Raises:
        Disagree: if a distance is larger than AGREEMENT.
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
            raise Disagree(
                f"{side.name} has different meta-parameters in '{work.name}': relative distance {distance:.1e}"
            )
    return distances


def _flat(params: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([p.flatten().to("cpu", torch.float64, copy=True) for p in params.values()])


def choose_threads(side: Side) -> None:
    """Set the faster number of torch threads (one, or one per core), unless the side has a fixed number."""
    if side.threads is not None:
        return
    took = {}
    for count in sorted({1, physical_cores()}):
        side.threads = count
        took[count] = turn(side)
    side.threads = min(took, key=lambda count: took[count])


def take_turns(sides: Sequence[Side], seconds: float) -> dict[str, Timed]:
    """Time all sides in rounds, for about `seconds` and at least FEWEST_ROUNDS rounds."""
    turns: dict[str, list[float]] = {side.name: [] for side in sides}
    began, rounds = time.perf_counter(), 0
    while rounds < FEWEST_ROUNDS or time.perf_counter() - began < seconds:
        for side in sides:
            before = turns[side.name]
            before.append(turn(side, warm=not before or before[-1] < SLOW))
        rounds += 1
    return {side.name: Timed(tuple(turns[side.name]), side.threads, side.engine) for side in sides}


def turn(side: Side, *, warm: bool = True) -> float:
    """Return the mean milliseconds of a step after a warm-up; a median would not account for batches of tasks."""
    with threads(side.threads):
        if warm:
            _each(side.step, WARM_UP)
        return 1000 * _each(side.step, TURN)


def _each(step: Callable[[], object], seconds: float) -> float:
    """Return the mean seconds of as many steps as fit into `seconds`, at least one."""
    steps, began = 0, time.perf_counter()
    while True:
        step()
        steps += 1
        took = time.perf_counter() - began
        if took >= seconds:
            return took / steps


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Set the number of torch threads; None means one per core."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or physical_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)
