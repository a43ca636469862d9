"""Functions that check whether implementations compute the same results, and that time them in alternating turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from metatui.utils.processors import usable_cores
from tests.benchmarks.side import Make, Side
from tests.benchmarks.works import Work

AGREEMENT = 1e-8
"""Maximum relative distance between the meta-parameters that two implementations compute in float64."""

META_STEPS_COMPARED = 2
"""Number of meta-steps before the meta-parameters are compared. The second one is included because it depends on the
state of Adam."""

WARM_UP = 0.5
"""Seconds of untimed meta-steps (at least one meta-step) at the beginning of each turn. They are necessary because
threads of the previous library may still be spinning, and its tensors fill the caches."""

TURN = 1.0
"""Seconds of timed meta-steps (at least one meta-step) in each turn."""

SLOW = 1000.0
"""Time of a meta-step in milliseconds above which only the first turn has a warm-up."""

MIN_ROUNDS = 5


class DisagreementError(Exception):
    """Raised if two implementations do not compute the same results."""


@dataclass(frozen=True)
class Timings:
    """Measured times of one implementation."""

    turns: tuple[float, ...]
    """Mean time of a meta-step in each turn, in milliseconds."""
    torch_threads: int | None
    engine: str | None = None
    """Engine that metatui used. None for the other libraries."""

    @property
    def ms(self) -> float:
        """Median over all turns of the mean time of a meta-step, in milliseconds."""
        return statistics.median(self.turns)


def check_agreement(work: Work, makes: Iterable[Make]) -> dict[str, float]:
    """Compare the meta-parameters that the implementations reach after a few meta-steps in float64.

    Returns:
        For each implementation, by name, the distance of its meta-parameters from those of the first implementation,
        divided by the norm of the first implementation's update.

    Raises:
        DisagreementError: if a distance is larger than AGREEMENT.
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
            raise DisagreementError(
                f"{side.name} has different meta-parameters in '{work.name}': relative distance {distance:.1e}"
            )
    return distances


def _flat(params: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([p.flatten().to("cpu", torch.float64, copy=True) for p in params.values()])


def choose_threads(side: Side) -> None:
    """Choose the number of torch threads, unless the implementation has a fixed number.

    One thread and one thread per core are timed, and `side.threads` is set to the faster number.
    """
    if side.threads is not None:
        return
    took = {}
    for count in sorted({1, usable_cores()}):
        side.threads = count
        took[count] = turn(side)
    side.threads = min(took, key=lambda count: took[count])


def take_turns(sides: Sequence[Side], seconds: float) -> dict[str, Timings]:
    """Time all implementations in rounds, in which each one takes one turn.

    The measurement takes about `seconds` seconds and at least MIN_ROUNDS rounds.
    """
    turns: dict[str, list[float]] = {side.name: [] for side in sides}
    began, rounds = time.perf_counter(), 0
    while rounds < MIN_ROUNDS or time.perf_counter() - began < seconds:
        for side in sides:
            before = turns[side.name]
            before.append(turn(side, warm=not before or before[-1] < SLOW))
        rounds += 1
    return {side.name: Timings(tuple(turns[side.name]), side.threads, side.engine) for side in sides}


def turn(side: Side, *, warm: bool = True) -> float:
    """Return the mean time of a meta-step in milliseconds, measured after a warm-up.

    The mean is used instead of the median because a run may draw the tasks of many meta-steps at once, which makes a
    few meta-steps slow.
    """
    with threads(side.threads):
        if warm:
            _each(side.step, WARM_UP)
        return 1000 * _each(side.step, TURN)


def _each(step: Callable[[], object], seconds: float) -> float:
    """Call `step` repeatedly for about `seconds` seconds, at least once, and return the mean time of a call."""
    steps, began = 0, time.perf_counter()
    while True:
        step()
        steps += 1
        took = time.perf_counter() - began
        if took >= seconds:
            return took / steps


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Set the number of torch threads during a `with` block. None means one thread per core."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or usable_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)
