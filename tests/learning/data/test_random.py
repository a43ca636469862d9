"""Tests of counter-based random numbers: reproducibility, independence and distribution."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metatui.learning.data.random import bits, choose, keys, normal, uniform

SEEDS = st.integers(0, 2**31 - 1)


@settings(max_examples=30)
@given(SEEDS, st.lists(st.integers(0, 2**40), min_size=1, max_size=8))
def test_tasks_do_not_depend_on_their_batch(seed: int, tasks: list[int]) -> None:
    together = uniform(keys(seed, "stream", torch.tensor(tasks)), 5)
    for row, task in zip(together, tasks, strict=True):
        assert torch.equal(row, uniform(keys(seed, "stream", torch.tensor([task])), 5)[0])


@settings(max_examples=30)
@given(SEEDS, st.integers(0, 1000), st.integers(1, 20), st.integers(0, 20))
def test_fewer_numbers_are_a_prefix_of_more(seed: int, task: int, few: int, extra: int) -> None:
    key = keys(seed, "stream", torch.tensor([task]))
    assert torch.equal(uniform(key, few + extra)[:, :few], uniform(key, few))


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 30), st.integers(0, 30))
def test_chosen_numbers_are_distinct_and_in_range(seed: int, count: int, extra: int) -> None:
    chosen = choose(keys(seed, "stream", torch.arange(4)), count, count + extra)
    for row in chosen.tolist():
        assert len(set(row)) == count
        assert all(0 <= number < count + extra for number in row)


def test_numbers_match_splitmix64() -> None:
    # First outputs of the reference implementation (Vigna, splitmix64.c) for the state 1234567.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    got = [number % 2**64 for number in bits(torch.tensor([1234567]), 4)[0].tolist()]
    assert got == expected


def test_seeds_streams_and_tasks_are_independent() -> None:
    tasks = torch.arange(200)
    rows = torch.cat([keys(seed, stream, tasks) for seed in (0, 1, 2) for stream in ("train", "val", "test")])
    assert len(set(rows.tolist())) == len(rows)


def test_moments_of_uniform_and_normal() -> None:
    key = keys(0, "moments", torch.arange(100))
    u, z = uniform(key, 1000), normal(key, 1000)
    # Five standard errors of the mean and of the variance of 100,000 draws.
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 1 / 2) < 5 * (1 / 12 / 1e5) ** 0.5
    assert abs(u.var() - 1 / 12) < 5 * (1 / 180 / 1e5) ** 0.5
    assert abs(z.mean()) < 5 * 1e5**-0.5
    assert abs(z.var() - 1) < 5 * (2 / 1e5) ** 0.5
