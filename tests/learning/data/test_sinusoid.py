"""Tests of sinusoid tasks: reproducibility, and agreement with the distribution of Finn et al. (2017)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metatui.learning.data.episodes import SPLITS, Split
from metatui.learning.data.sinusoid import SinusoidSource
from metatui.learning.data.sources.sinusoid import Sinusoid
from metatui.learning.data.wave_ranges import AMPLITUDE, PHASE, X
from metatui.tui.help.topics import TERMS

SOURCE = SinusoidSource()


@settings(max_examples=30)
@given(st.integers(0, 2**31 - 1), st.sampled_from(SPLITS), st.lists(st.integers(0, 10**9), min_size=1, max_size=6))
def test_support_and_query_lie_on_the_same_wave(seed: int, split: Split, tasks: list[int]) -> None:
    episodes = SOURCE.episodes(split, tasks, seed=seed, shots=5, queries=7)
    amplitude, phase = SOURCE.wave(split, tasks, seed=seed)
    assert episodes.support_x.shape == (len(tasks), 5, 1)
    assert episodes.query_y.shape == (len(tasks), 7, 1)
    for x, y in ((episodes.support_x, episodes.support_y), (episodes.query_x, episodes.query_y)):
        wave = amplitude.unsqueeze(-1) * torch.sin(x.double() - phase.unsqueeze(-1))
        torch.testing.assert_close(y.double(), wave, atol=5e-6, rtol=0)
        assert (x.abs() <= 5).all()
    assert ((amplitude >= 0.1) & (amplitude <= 5.0)).all()
    assert ((phase >= 0) & (phase <= torch.pi)).all()


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(0, 10**6), st.integers(1, 10))
def test_more_shots_only_add_support(seed: int, task: int, extra: int) -> None:
    few = SOURCE.episodes("test", [task], seed=seed, shots=5, queries=7)
    many = SOURCE.episodes("test", [task], seed=seed, shots=5 + extra, queries=7)
    assert torch.equal(few.query_x, many.query_x)
    assert torch.equal(few.support_x, many.support_x[:, :5])


@pytest.mark.parametrize("text", [Sinusoid.__doc__, TERMS["Sinusoid (sine waves)"]])
def test_ranges_in_texts(text: str) -> None:
    (low, high), (start, end) = AMPLITUDE, X
    assert (PHASE, "φ from 0 to π" in text) == ((0, torch.pi), True)
    assert f"A from {low:g} to {high:g}, " in text
    assert f"x from {start:g} to {end:g}" in text
    assert "y = A sin(x - φ)" in text


def test_splits_and_seeds_differ() -> None:
    waves = [SOURCE.wave(split, range(50), seed=seed)[0] for split in SPLITS for seed in (0, 1)]
    together = torch.cat(waves).flatten().tolist()
    assert len(set(together)) == len(together)


def test_amplitudes_and_phases_are_uniform() -> None:
    amplitude, phase = SOURCE.wave("train", range(20_000), seed=0)
    # Five standard errors of the mean of 20,000 uniform draws.
    assert amplitude.mean().item() == pytest.approx(2.55, abs=5 * 4.9 / (12 * 20_000) ** 0.5)
    assert phase.mean().item() == pytest.approx(torch.pi / 2, abs=5 * torch.pi / (12 * 20_000) ** 0.5)


def test_description_names_the_wave() -> None:
    amplitude, phase = SOURCE.wave("val", [3], seed=1)
    assert SOURCE.describe("val", 3, seed=1) == f"A = {amplitude.item():.2f}, φ = {phase.item():.2f}"


def test_pooled_points_come_from_different_waves() -> None:
    x, y = SOURCE.pooled_batch(0, seed=0, size=8)
    amplitude, phase = SOURCE.wave("train", range(8), seed=0)
    torch.testing.assert_close(y.double(), amplitude * torch.sin(x.double() - phase), atol=5e-6, rtol=0)
    assert not torch.equal(x, SOURCE.pooled_batch(1, seed=0, size=8)[0])
