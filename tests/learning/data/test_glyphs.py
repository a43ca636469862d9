"""Tests of generated characters: reproducibility, disjoint splits, and difficulty of the tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from metatui.learning.data.episodes import SPLITS, Split
from metatui.learning.data.glyphs import renderer
from metatui.learning.data.glyphs.source import GlyphSource, proquint
from tests.learning.data.baselines import nearest_neighbour_accuracy

SHEET = Path(__file__).parents[2] / "fixtures" / "glyphs.png"

source = GlyphSource("cpu")
seeds = st.integers(0, 2**31 - 1)


def fields(episodes: object) -> list[torch.Tensor]:
    return list(vars(episodes).values())


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.integers(0, 2**40), min_size=1, max_size=4),
    seeds,
    st.sampled_from(SPLITS),
    st.integers(2, 6),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_tasks_do_not_depend_on_their_batch(
    tasks: list[int], seed: int, split: Split, ways: int, shots: int, queries: int
) -> None:
    def make(numbers: list[int]) -> list[torch.Tensor]:
        return fields(source.episodes(split, numbers, seed=seed, ways=ways, shots=shots, queries=queries))

    together = make(tasks)
    for i, task in enumerate(tasks):
        for batch, alone in zip(together, make([task]), strict=True):
            assert torch.equal(batch[i], alone[0])


def test_tasks_do_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> torch.Tensor:
        return source.episodes("train", range(5), seed=3, ways=5, shots=1, queries=4).query_x

    whole = make()
    monkeypatch.setattr(renderer, "_CHUNK", 7)
    assert torch.equal(make(), whole)


def test_shapes_labels_and_range() -> None:
    episodes = source.episodes("val", [4, 2], seed=0, ways=3, shots=2, queries=4)
    assert episodes.support_x.shape == (2, 6, 1, 28, 28)
    assert episodes.query_x.shape == (2, 12, 1, 28, 28)
    assert episodes.support_x.dtype == torch.float32
    assert episodes.support_y.tolist() == [[0, 0, 1, 1, 2, 2]] * 2
    assert episodes.query_y.tolist() == [[0] * 4 + [1] * 4 + [2] * 4] * 2
    assert episodes.query_x.min() == 0
    assert episodes.query_x.max() == 1
    assert (episodes.query_x.mean((1, 2, 3, 4)) < 0.3).all()  # less ink than background


def test_more_shots_only_add_support() -> None:
    one = source.episodes("test", range(3), seed=1, ways=5, shots=1, queries=3)
    five = source.episodes("test", range(3), seed=1, ways=5, shots=5, queries=3)
    assert torch.equal(one.query_x, five.query_x)
    assert torch.equal(one.support_x, five.support_x[:, ::5])


def test_seeds_splits_and_tasks_differ() -> None:
    seen = {
        source.episodes(split, [task], seed=seed, ways=2, shots=1, queries=1).support_x.numpy().tobytes()
        for split in SPLITS
        for task in range(3)
        for seed in range(3)
    }
    assert len(seen) == 27


def test_drawings_of_a_class_differ() -> None:
    episodes = source.episodes("train", [0], seed=0, ways=2, shots=3, queries=5)
    images = torch.cat([episodes.support_x[0], episodes.query_x[0]]).flatten(1)
    assert len(torch.unique(images, dim=0)) == 16


def test_splits_have_different_classes() -> None:
    classes, keys = torch.arange(50), torch.zeros(50, dtype=torch.int64)
    images = [source.draw(split, classes, keys, 1).flatten(1) for split in SPLITS]
    assert len(torch.unique(torch.cat(images), dim=0)) == 150


def test_nearest_neighbour_accuracy() -> None:
    episodes = source.episodes("test", range(600), seed=0, ways=5, shots=1, queries=15)
    assert 0.42 < nearest_neighbour_accuracy(episodes).mean() < 0.52


def test_characters_match_the_saved_sheet() -> None:
    images = source.draw("train", torch.arange(20), torch.arange(20), 12)
    sheet = np.asarray(Image.open(SHEET)).reshape(20, 28, 12, 28).swapaxes(1, 2)
    assert (images - torch.from_numpy(sheet.astype(np.float32) / 255)).abs().max() < 0.01


def test_pooled_batches() -> None:
    x, y = source.pooled_batch(3, seed=1, size=64)
    assert x.shape == (64, 1, 28, 28)
    assert y.dtype == torch.int64
    assert y.min() >= 0
    assert y.max() < source.pooled_classes == 1000
    again, labels = source.pooled_batch(3, seed=1, size=64)
    assert torch.equal(x, again)
    assert torch.equal(y, labels)
    assert not torch.equal(y, source.pooled_batch(4, seed=1, size=64)[1])
    assert not torch.equal(y, source.pooled_batch(3, seed=2, size=64)[1])


def test_class_names_are_pronounceable() -> None:
    assert proquint(0x7F000001) == "lusab-babad"  # 127.0.0.1, the example in the proposal
    assert len({proquint(number) for number in (0, 1, 2**16, 2**31, 2**32 - 1)}) == 5
    names = source.describe("test", 7, seed=0, ways=5).split(", ")
    assert len(set(names)) == 5
    assert names != source.describe("test", 8, seed=0, ways=5).split(", ")
