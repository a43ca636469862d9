"""Counter-based random numbers: pure functions of a key and a position, identical on every device and in any order.

The key (seed, stream, task) and the position pass through the SplitMix64 finaliser (Steele, Lea and Flood 2014, "Fast
splittable pseudorandom number generators") in 64-bit integer arithmetic, which wraps the same way on every device.
There is no state to save or to synchronise between workers.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit number
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator, which initialises layers, and restore its state afterwards.

    Unlike `torch.manual_seed`, this does not seed the generators of GPUs, because saving and restoring them takes time.
    """
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def _shift(z: Tensor, bits: int) -> Tensor:
    """Shift right, filling with zeros; torch's >> operator would copy the sign bit."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def mix(z: Tensor) -> Tensor:
    """Apply the SplitMix64 finaliser, a bijection of int64. Each input bit changes about half the output bits."""
    z = (z ^ _shift(z, 30)) * _MIX_1
    z = (z ^ _shift(z, 27)) * _MIX_2
    return z ^ _shift(z, 31)


def keys(seed: int, stream: str, tasks: Tensor) -> Tensor:
    """Return one key for each task number. Keys of streams with different names are independent.

    Args:
        tasks: int64 [...], task numbers.

    Returns:
        int64 [...], on the device of `tasks`.
    """
    start = torch.full((), seed, dtype=torch.int64, device=tasks.device)
    salted = mix(mix(start + _GOLDEN) + zlib.crc32(stream.encode()))
    return mix(salted + tasks * _GOLDEN)


def task_numbers(tasks: Sequence[int]) -> Tensor:
    """Convert task numbers to a tensor, int64 [T]."""
    if isinstance(tasks, range):  # a thousand times faster than torch.tensor
        return torch.arange(tasks.start, tasks.stop, tasks.step, dtype=torch.int64)
    return torch.tensor(tasks, dtype=torch.int64)


def bits(key: Tensor, count: int, offset: int = 0) -> Tensor:
    """Return `count` random int64 values [..., count] for each key, starting at `offset` in the key's stream."""
    position = torch.arange(offset + 1, offset + count + 1, device=key.device, dtype=torch.int64)
    return mix(key.unsqueeze(-1) + position * _GOLDEN)


def uniform(key: Tensor, count: int, offset: int = 0) -> Tensor:
    """Return `count` numbers in [0, 1) for each key, float64 [..., count], exact multiples of 2^-53."""
    return _shift(bits(key, count, offset), 11).to(torch.float64) * 2.0**-53


def normal(key: Tensor, count: int) -> Tensor:
    """Return `count` standard normal numbers for each key, float64 [..., count] (Box and Muller 1958)."""
    u = uniform(key, 2 * count)
    radius = torch.sqrt(-2.0 * torch.log1p(-u[..., :count]))
    return radius * torch.cos(2.0 * torch.pi * u[..., count:])


def choose(key: Tensor, count: int, among: int, offset: int = 0) -> Tensor:
    """Return `count` distinct numbers below `among` for each key, in random order, int64 [..., count]."""
    if count > among:
        raise ValueError(f"cannot choose {count} distinct numbers from {among}")
    return torch.argsort(bits(key, among, offset), dim=-1, stable=True)[..., :count]
