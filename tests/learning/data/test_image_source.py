"""Tests of sampling classes and images, which is the same for all image sources."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metatui.learning.data import random
from metatui.learning.data.episodes import Episodes, Split
from metatui.learning.data.image_source import SIDE, ImageSource, sample_distinct
from metatui.utils.errors import BadInput
from tests.learning.data.baselines import nearest_neighbour_accuracy


@settings(max_examples=30)
@given(st.integers(0, 60), st.integers(0, 2**40), st.integers(0, 2**31 - 1))
def test_chosen_numbers_are_distinct_and_in_range(count: int, extra: int, seed: int) -> None:
    among = count + extra
    chosen = sample_distinct(random.keys(seed, "test", torch.arange(3)), count, among)
    assert chosen.shape == (3, count)
    for row in chosen.tolist():
        assert len(set(row)) == count
        assert all(0 <= number < among for number in row)


def test_chosen_numbers_are_uniform_in_every_position() -> None:
    tasks, among = 40_000, 7
    chosen = sample_distinct(random.keys(0, "test", torch.arange(tasks)), 4, among)
    share = torch.nn.functional.one_hot(chosen, among).double().mean(0)
    sd = (1 / among * (1 - 1 / among) / tasks) ** 0.5
    assert (share - 1 / among).abs().max() < 5 * sd


def test_choosing_more_than_available_is_refused() -> None:
    with pytest.raises(ValueError, match="6 distinct numbers"):
        sample_distinct(torch.tensor([1]), 6, 5)


def test_nearest_neighbour_baseline() -> None:
    support = torch.tensor([[0.0, 0.4, 1.0, 0.9], [1.0, 1.0, 0.0, 0.0]])[:, :, None, None, None]
    query = torch.tensor([[0.1, 0.95], [0.2, 0.9]])[:, :, None, None, None]
    labels = torch.tensor([[0, 0, 1, 1]]).repeat(2, 1)
    accuracy = nearest_neighbour_accuracy(Episodes(support, labels, query, torch.tensor([[0, 1], [1, 1]])))
    assert accuracy.tolist() == [1.0, 0.5]


class Numbered(ImageSource):
    """A source of images whose first three pixels contain the class, the image's number, and the class's random key."""

    name = "numbered"

    def class_count(self, split: Split) -> int:
        return 9

    def class_name(self, split: Split, number: int) -> str:
        return str(number)

    def check_drawings(self, split: Split, shots: int, queries: int) -> None:
        """Accept any numbers of shots and queries."""

    def draw(self, split: Split, classes: Tensor, keys: Tensor, count: int) -> Tensor:
        images = torch.zeros(len(classes), count, SIDE, SIDE)
        images[:, :, 0, 0] = classes.unsqueeze(1).float()
        images[:, :, 0, 1] = torch.arange(count).float()
        images[:, :, 0, 2] = keys.unsqueeze(1).float()
        return images


def test_labels_match_classes_and_sets_are_disjoint() -> None:
    source = Numbered("cpu")
    tasks = range(20)
    episodes = source.episodes("train", tasks, seed=0, ways=4, shots=2, queries=3)
    classes = source.classes("train", tasks, seed=0, ways=4)
    for x, y in ((episodes.support_x, episodes.support_y), (episodes.query_x, episodes.query_y)):
        assert torch.equal(x[:, :, 0, 0, 0].long(), classes.gather(1, y))
    drawn = torch.cat([episodes.support_x, episodes.query_x], 1)[:, :, 0, 0, :2].long()
    assert all(len(torch.unique(task, dim=0)) == 4 * 5 for task in drawn)
    assert source.describe("train", 3, seed=0, ways=4) == ", ".join(map(str, classes[3].tolist()))


def test_keys_are_distinct() -> None:
    episodes = Numbered("cpu").episodes("train", range(20), seed=0, ways=4, shots=1, queries=1)
    assert len(torch.unique(episodes.query_x[:, :, 0, 0, 2])) == 80


def test_pooled_labels_match_classes() -> None:
    x, y = Numbered("cpu").pooled_batch(0, seed=0, size=500)
    assert torch.equal(x[:, 0, 0, 0].long(), y)
    assert torch.unique(y).tolist() == list(range(9))
    assert len(torch.unique(x[:, 0, 0, 2])) == 500


def test_more_ways_than_classes_are_refused() -> None:
    with pytest.raises(BadInput, match=r"task.ways is 10, but must be at most 9, the number of classes in the"):
        Numbered("cpu").episodes("val", [0], seed=0, ways=10, shots=1, queries=1)


def test_fewer_queries_keep_every_class() -> None:
    x, y = torch.arange(2 * 6).view(2, 6, 1, 1, 1), torch.tensor([[0, 0, 1, 1, 2, 2]] * 2)
    few = Episodes(x, y, x, y).with_queries(1, ways=3)
    assert few.query_x.flatten().tolist() == [0, 2, 4, 6, 8, 10]
    assert few.query_y.tolist() == [[0, 1, 2]] * 2
    assert torch.equal(few.support_x, x)
    assert torch.equal(Episodes(x, y, x, y).with_queries(9, ways=3).query_x, x)
