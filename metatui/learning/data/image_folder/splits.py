"""Division of a folder's classes into training, validation and test, and checks that there are enough of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from metatui.config.settings import Settings
from metatui.learning.data import random
from metatui.learning.data.episodes import SPLITS, Split
from metatui.learning.data.image_folder.scan import ClassFolder, Listing
from metatui.utils.errors import Problem, SettingsError, quote

Splits = Mapping[Split, Sequence[int]]
"""Ascending numbers of a listing's classes in each split. The splits are disjoint."""


def split_classes(classes: Sequence[ClassFolder], seed: int) -> Splits:
    """Return the classes of each split.

    If the folder has split folders, they are the splits; without a val folder, a fifth of the training classes, chosen
    by `seed`, is for validation. Otherwise `seed` shuffles all classes, and 16 % of them, rounded, are for validation,
    20 % for test and the rest for training, the proportions of miniImageNet (Ravi and Larochelle 2017).
    """
    numbers = {split: [n for n, folder in enumerate(classes) if folder.split == split] for split in (*SPLITS, None)}
    if numbers[None]:
        shuffled = _shuffled(numbers[None], seed)
        val, test = _percent(16, len(shuffled)), _percent(20, len(shuffled))
        parts = shuffled[val + test :], shuffled[:val], shuffled[val : val + test]
    elif not numbers["val"]:
        shuffled = _shuffled(numbers["train"], seed)
        val = _percent(20, len(shuffled))
        parts = shuffled[val:], shuffled[:val], numbers["test"]
    else:
        parts = numbers["train"], numbers["val"], numbers["test"]
    return {split: sorted(part) for split, part in zip(SPLITS, parts, strict=True)}


def check_ways(listing: Listing, splits: Splits, ways: int) -> None:
    """Raise SettingsError if a split has fewer than `ways` classes."""
    sizes = {split: len(splits[split]) for split in SPLITS}
    fewest = min(sizes.values())
    if fewest >= ways:
        return
    remedy = f"use at most {fewest} ways, or " if fewest > 1 else ""
    if listing.classes[0].split is None:
        # The fewest classes whose random split leaves `ways` in each part.
        needed = ways
        while min(_percent(16, needed), _percent(20, needed)) < ways:
            needed += 1
        remedy += f"provide at least {needed} class folders"
    else:
        remedy += "add class folders to the smaller splits"
    sentence = (
        f"task.ways is {ways}, but the {len(listing.classes)} classes of {quote(str(listing.root), 200)} are "
        f"{sizes['train']} for training, {sizes['val']} for validation and {sizes['test']} for test: {remedy}"
    )
    raise SettingsError([Problem("task.ways", sentence)])


def check_images(settings: Settings, listing: Listing, splits: Splits, counts: Sequence[int]) -> None:
    """Raise SettingsError if a class has fewer images than shots and queries together.

    Args:
        counts: usable images of each class.
    """
    training = "algorithm.train_shots" if settings.training_shots != settings.task.shots else "task.shots"
    held_out = "evaluation.shots" if settings.evaluation.shots else "task.shots"
    shots = {training: settings.training_shots, held_out: settings.evaluation_shots}
    classes: dict[str, list[int]] = {training: [], held_out: []}
    for split in SPLITS:
        classes[training if split == "train" else held_out] += splits[split]
    sentences = {
        field: too_few(listing, sorted(numbers), counts, shots[field], settings.task.queries, field)
        for field, numbers in classes.items()
    }
    if any(sentences.values()):
        raise SettingsError(Problem(field, sentence) for field, sentence in sentences.items() if sentence)


def too_few(
    listing: Listing, classes: Sequence[int], counts: Sequence[int], shots: int, queries: int, field: str = "task.shots"
) -> str:
    """Say which of `classes` have fewer images than `shots`, the value of `field`, and `queries` together.

    Returns:
        A sentence, or an empty string if all classes have enough images.
    """
    small = [n for n in classes if counts[n] < shots + queries]
    if not small:
        return ""
    examples = ", ".join(f"{quote(listing.classes[n].name)} ({counts[n]})" for n in small[:5])
    more = f" and {len(small) - 5} more" if len(small) > 5 else ""
    return (
        f"{field} is {shots} and task.queries is {queries}, but their sum must be at most the number of images of a "
        f"class, and there are too few usable images in {examples}{more} of {quote(str(listing.root), 200)}"
    )


def _shuffled(numbers: Sequence[int], seed: int) -> list[int]:
    order = random.choose(random.keys(seed, "folder/split", torch.tensor(0)), len(numbers), len(numbers))
    return [numbers[place] for place in order.tolist()]


def _percent(percent: int, total: int) -> int:
    """Return `percent` of `total`, rounded half up."""
    return (percent * total + 50) // 100
