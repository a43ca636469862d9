"""Which classes of a folder are for training, for validation and for test, and whether there are enough of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from metatui.config.settings import Settings
from metatui.learning.data import random
from metatui.learning.data.episodes import SPLITS, Split
from metatui.learning.data.image_folder.scan import ClassFolder, Listing
from metatui.utils.errors import Problem, SettingsError, quote

Splits = Mapping[Split, Sequence[int]]
"""Numbers of a listing's classes, in order. No class is in two splits."""


def split_classes(classes: Sequence[ClassFolder], seed: int) -> Splits:
    """The classes of each split.

    Where the folder has parts, they are the splits; where it has no val, a fifth of train's classes, chosen by `seed`,
    are for validation. Where it has none, `seed` shuffles all classes: 16 % of them, rounded, are for validation, 20 %
    for test and the others for training, as miniImageNet's 100 are divided (Ravi and Larochelle 2017).
    """
    parts = {split: [n for n, each in enumerate(classes) if each.part == split] for split in SPLITS}
    everything = [n for n, each in enumerate(classes) if each.part is None]
    if everything:
        val, test = _rounded(16, len(everything)), _rounded(20, len(everything))
        shuffled = _shuffled(everything, seed)
        chosen = {"val": shuffled[:val], "test": shuffled[val : val + test], "train": shuffled[val + test :]}
        return {split: sorted(chosen[split]) for split in SPLITS}
    if not parts["val"]:
        shuffled = _shuffled(parts["train"], seed)
        val = _rounded(20, len(shuffled))
        return {"train": sorted(shuffled[val:]), "val": sorted(shuffled[:val]), "test": parts["test"]}
    return parts


def check_ways(listing: Listing, splits: Splits, ways: int) -> None:
    """Raises SettingsError where a split has fewer classes than `ways`."""
    sizes = {split: len(splits[split]) for split in SPLITS}
    fewest = min(sizes.values())
    if fewest >= ways:
        return
    total = len(listing.classes)
    told = f"{sizes['train']} for training, {sizes['val']} for validation and {sizes['test']} for test"
    most = f"take at most {fewest} ways, or " if fewest > 1 else ""
    if listing.classes[0].part is None:
        remedy = f"{most}put at least {_classes_for(ways)} class folders there"
    else:
        remedy = f"{most}put more class folders into the smaller parts"
    raise SettingsError(
        [
            Problem(
                "task.ways",
                f"task.ways is {ways}, but the {total} classes of {quote(str(listing.root), 200)} are {told}: {remedy}",
            )
        ]
    )


def check_images(settings: Settings, listing: Listing, splits: Splits, counts: Sequence[int]) -> None:
    """Raises SettingsError where a class has fewer images than shots and queries take.

    Args:
        counts: usable images of each class.
    """
    training = "algorithm.train_shots" if settings.training_shots != settings.task.shots else "task.shots"
    held_out = "evaluation.shots" if settings.evaluation.shots else "task.shots"
    shots = {training: settings.training_shots, held_out: settings.evaluation_shots}
    classes: dict[str, list[int]] = {training: [], held_out: []}
    for split in SPLITS:
        classes[training if split == "train" else held_out] += splits[split]
    said = {
        field: too_few(listing, sorted(numbers), counts, shots[field], settings.task.queries, field)
        for field, numbers in classes.items()
    }
    if any(said.values()):
        raise SettingsError(Problem(field, sentence) for field, sentence in said.items() if sentence)


def too_few(
    listing: Listing, classes: Sequence[int], counts: Sequence[int], shots: int, queries: int, field: str = "task.shots"
) -> str:
    """What is wrong with `shots`, called `field`, and `queries` together; empty where `classes` have images enough."""
    small = [n for n in classes if counts[n] < shots + queries]
    if not small:
        return ""
    named = ", ".join(f"{quote(listing.classes[n].name)} ({counts[n]})" for n in small[:5])
    more = f" and {len(small) - 5} more" if len(small) > 5 else ""
    return (
        f"{field} is {shots} and task.queries is {queries}, but together they must be at most the images of a class, "
        f"and too few are usable in {named}{more} of {quote(str(listing.root), 200)}"
    )


def _shuffled(numbers: Sequence[int], seed: int) -> list[int]:
    order = random.choose(random.keys(seed, "folder/split", torch.tensor(0)), len(numbers), len(numbers))
    return [numbers[place] for place in order.tolist()]


def _rounded(percent: int, many: int) -> int:
    """`percent` of `many`, halves rounded up."""
    return (percent * many + 50) // 100


def _classes_for(ways: int) -> int:
    """The fewest classes that, split by chance, leave `ways` in each split."""
    many = ways
    while min(_rounded(16, many), _rounded(20, many)) < ways:
        many += 1
    return many
