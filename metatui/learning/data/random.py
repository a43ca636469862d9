"""Random numbers that are a pure function of a key and a position: the same on every device, in any order.

A counter-based generator: the key (seed, stream, task) and the position go through the SplitMix64 finaliser
(Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"), in 64-bit integer arithmetic, which
wraps alike on every device. No state, hence nothing to save, to seed or to keep in step between workers.
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

    Unlike `torch.manual_seed`, this leaves the generators of GPUs alone, which would take time to save and restore.
    """
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical shift right; torch's own is arithmetic."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def mix(z: Tensor) -> Tensor:
    """SplitMix64's finaliser: a bijection of int64 [...] in which every input bit moves half the output bits."""
    z = (z ^ _shift(z, 30)) * _MIX_1
    z = (z ^ _shift(z, 27)) * _MIX_2
    return z ^ _shift(z, 31)


def keys(seed: int, stream: str, tasks: Tensor) -> Tensor:
    """One key for each task number. Streams with other names are independent.

    Args:
        tasks: int64 [...], task numbers.

    Returns:
        int64 [...], on the device of `tasks`.
    """
    start = torch.full((), seed, dtype=torch.int64, device=tasks.device)
    salted = mix(mix(start + _GOLDEN) + zlib.crc32(stream.encode()))
    return mix(salted + tasks * _GOLDEN)


def numbered(tasks: Sequence[int]) -> Tensor:
    """Task numbers as int64 [T]."""
    if isinstance(tasks, range):  # made in a thousandth of the time
        return torch.arange(tasks.start, tasks.stop, tasks.step, dtype=torch.int64)
    return torch.tensor(tasks, dtype=torch.int64)


def bits(key: Tensor, count: int, offset: int = 0) -> Tensor:
    """`count` random int64 for each key: [...] to [..., count], positions `offset` onwards."""
    position = torch.arange(offset + 1, offset + count + 1, device=key.device, dtype=torch.int64)
    return mix(key.unsqueeze(-1) + position * _GOLDEN)


def uniform(key: Tensor, count: int, offset: int = 0) -> Tensor:
    """`count` numbers in [0, 1) for each key, float64 [..., count], each an exact multiple of 2^-53."""
    return _shift(bits(key, count, offset), 11).to(torch.float64) * 2.0**-53


def normal(key: Tensor, count: int, offset: int = 0) -> Tensor:
    """`count` standard normal numbers for each key, float64 [..., count], by Box and Muller (1958)."""
    u = uniform(key, 2 * count, offset)
    radius = torch.sqrt(-2.0 * torch.log1p(-u[..., :count]))
    return radius * torch.cos(2.0 * torch.pi * u[..., count:])


def choose(key: Tensor, count: int, among: int, offset: int = 0) -> Tensor:
    """`count` distinct numbers below `among` for each key, in random order: int64 [..., count]."""
    if count > among:
        raise ValueError(f"{count} distinct numbers cannot be chosen among {among}")
    return torch.argsort(bits(key, among, offset), dim=-1, stable=True)[..., :count]
