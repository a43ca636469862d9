"""Tests of Omniglot tasks: splits, rotations, reproducibility, and disjoint support and query sets."""

from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metatui.learning.data.episodes import SPLITS, Split
from metatui.learning.data.omniglot.manifest import LAKE_VALIDATION, characters, split_characters
from metatui.learning.data.omniglot.source import OmniglotSource
from metatui.learning.data.omniglot.splits import CHARACTERS, DRAWINGS
from metatui.utils.errors import BadInput

NAMES = ("chapter", "finn", "lake")


def labelled() -> Tensor:
    """Return drawings whose first four pixels identify them.

    The pixels contain a marker, the number of the character (in two pixels), and the number of the drawing.
    """
    pixels = torch.zeros(1623, DRAWINGS, 28, 28, dtype=torch.uint8)
    numbers = torch.arange(1623)
    pixels[:, :, 0, 0] = 255
    pixels[:, :, 0, 1] = (numbers // 200).to(torch.uint8).unsqueeze(1)
    pixels[:, :, 0, 2] = (numbers % 200).to(torch.uint8).unsqueeze(1)
    pixels[:, :, 0, 3] = torch.arange(DRAWINGS, dtype=torch.uint8)
    return pixels


def read(image: Tensor) -> tuple[int, int, int]:
    """Identify an image [1, 28, 28] of `labelled`, which may be rotated.

    Returns the number of the character, the number of the drawing, and the number of clockwise quarter turns.
    """
    for turns in range(4):
        top = (image[0].rot90(turns) * 255).round().int()[0, :4].tolist()
        if top[0] == 255:
            return top[1] * 200 + top[2], top[3], turns
    raise AssertionError("no image of labelled()")


@pytest.fixture(scope="module")
def sources() -> dict[tuple[str, bool], OmniglotSource]:
    pixels = labelled()
    return {
        (split, rotations): OmniglotSource(pixels, characters(), split, rotations=rotations, device="cpu")
        for split in NAMES
        for rotations in (False, True)
    }


@pytest.mark.parametrize("name", NAMES)
def test_splits_partition_the_characters(name: str) -> None:
    parts = split_characters(name)
    assert {split: len(numbers) for split, numbers in parts.items()} == CHARACTERS[name]
    assert sorted(torch.cat([parts[split] for split in SPLITS]).tolist()) == list(range(1623))


@pytest.mark.parametrize(
    ("name", "checksum"),
    [
        ("chapter", "9fad568d9b3c375e"),
        ("finn", "4db05520025011c6"),
        ("lake", "819b3fc3af23488d"),
    ],
)
def test_splits_match_saved_digests(name: str, checksum: str) -> None:
    parts = split_characters(name)
    text = " ".join(f"{split} {parts[split].tolist()}" for split in SPLITS)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == checksum


def test_lake_keeps_alphabets_whole() -> None:
    everyone, parts = characters(), split_characters("lake")
    alphabets = {split: {everyone[i].alphabet for i in parts[split].tolist()} for split in SPLITS}
    assert alphabets["val"] == set(LAKE_VALIDATION)
    assert [len(alphabets[split]) for split in SPLITS] == [25, 5, 20]
    assert {everyone[i].part for i in parts["test"].tolist()} == {"images_evaluation"}


def test_unknown_split_is_refused() -> None:
    with pytest.raises(BadInput, match=r"task.split is 'vinyals', but must be one of chapter, finn, lake"):
        split_characters("vinyals")


@pytest.mark.parametrize("rotations", [False, True])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", SPLITS)
def test_episodes_show_distinct_drawings_of_their_split(
    name: str, rotations: bool, split: Split, sources: dict[tuple[str, bool], OmniglotSource]
) -> None:
    source = sources[name, rotations]
    allowed = set(split_characters(name)[split].tolist())
    everyone = characters()
    episodes = source.episodes(split, [0, 9], seed=0, ways=5, shots=4, queries=16)
    for task, number in enumerate((0, 9)):
        classes: dict[int, set[tuple[int, int]]] = {}
        drawn = []
        for x, y in (
            (episodes.support_x[task], episodes.support_y[task]),
            (episodes.query_x[task], episodes.query_y[task]),
        ):
            for image, label in zip(x, y.tolist(), strict=True):
                character, drawing, turns = read(image)
                classes.setdefault(label, set()).add((character, turns))
                drawn.append((character, drawing, turns))
        assert len(set(drawn)) == len(drawn) == 5 * 20
        assert all(len(shown) == 1 for shown in classes.values())
        shown = [classes[label].pop() for label in range(5)]
        assert len(set(shown)) == 5
        assert {character for character, _ in shown} <= allowed
        names = [f"{everyone[c]}{f' ↻{90 * turns}' if turns else ''}" for c, turns in shown]
        assert source.describe(split, number, seed=0, ways=5) == ", ".join(names)


def test_rotations_make_four_classes_per_character(sources: dict[tuple[str, bool], OmniglotSource]) -> None:
    assert [sources["finn", False].class_count(split) for split in SPLITS] == [1100, 100, 423]
    assert [sources["finn", True].class_count(split) for split in SPLITS] == [4400, 400, 1692]
    assert sources["finn", True].pooled_classes == 4400
    turns = {
        read(image)[2]
        for image in sources["finn", True].episodes("val", [0], seed=0, ways=40, shots=1, queries=1).query_x[0]
    }
    assert turns == {0, 1, 2, 3}


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.integers(0, 2**40), min_size=1, max_size=4),
    st.integers(0, 2**31 - 1),
    st.sampled_from(SPLITS),
    st.integers(2, 20),
    st.integers(1, 5),
    st.integers(1, 15),
)
def test_tasks_do_not_depend_on_their_batch(
    sources: dict[tuple[str, bool], OmniglotSource],
    tasks: list[int],
    seed: int,
    split: Split,
    ways: int,
    shots: int,
    queries: int,
) -> None:
    def make(numbers: list[int], shots: int) -> list[Tensor]:
        episodes = sources["chapter", True].episodes(split, numbers, seed=seed, ways=ways, shots=shots, queries=queries)
        return list(vars(episodes).values())

    together = make(tasks, shots)
    for i, task in enumerate(tasks):
        for batch, alone in zip(together, make([task], shots), strict=True):
            assert torch.equal(batch[i], alone[0])
    assert torch.equal(together[2], make(tasks, 1)[2])  # the queries do not depend on the shots


def test_seeds_splits_and_tasks_differ(sources: dict[tuple[str, bool], OmniglotSource]) -> None:
    seen = {
        sources["finn", True].episodes(split, [task], seed=seed, ways=5, shots=1, queries=1).query_x.numpy().tobytes()
        for split in SPLITS
        for task in range(3)
        for seed in range(3)
    }
    assert len(seen) == 27


def test_pixel_range(sources: dict[tuple[str, bool], OmniglotSource]) -> None:
    images = sources["finn", False].episodes("train", [0], seed=0, ways=5, shots=1, queries=1).support_x
    assert images.dtype == torch.float32
    assert images.max() == 1  # exactly
    assert images.min() == 0


def test_pooled_batches_show_training_characters(sources: dict[tuple[str, bool], OmniglotSource]) -> None:
    source = sources["lake", True]
    x, y = source.pooled_batch(5, seed=0, size=200)
    train = split_characters("lake")["train"].tolist()
    for image, label in zip(x, y.tolist(), strict=True):
        character, _, turns = read(image)
        assert (character, turns) == (train[label // 4], label % 4)
    assert torch.equal(y, source.pooled_batch(5, seed=0, size=200)[1])
    assert not torch.equal(y, source.pooled_batch(6, seed=0, size=200)[1])


def test_too_many_drawings_are_refused(sources: dict[tuple[str, bool], OmniglotSource]) -> None:
    source = sources["finn", False]
    with pytest.raises(BadInput, match=r"task.shots is 6 and task.queries is 15, but their sum must be at most 20"):
        source.episodes("train", [0], seed=0, ways=5, shots=6, queries=15)
