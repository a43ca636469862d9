"""The `folder` source: the user's own images, one folder for each class."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice
from math import ceil

import torch

from metatui.config.settings import Settings
from metatui.learning.data import random
from metatui.learning.data.data_set import SPLIT_NAMES, shots_of_splits
from metatui.learning.data.episodes import SPLITS, Split
from metatui.learning.data.image_folder.cache import Packed, load
from metatui.learning.data.image_folder.scan import ClassFolder, LeftOut, Listing, list_folder
from metatui.learning.data.image_source import PackedSource, Splits
from metatui.utils.errors import BadInput, Problem, SettingsError, quote
from metatui.utils.text import format_count, sanitize

Shares = tuple[float, float]
"""Fractions of the classes that a random split uses for validation and for testing."""

SHARES: Shares = (0.16, 0.2)
"""Default fractions of the classes for validation and testing, as in miniImageNet (Ravi and Larochelle 2017)."""


def shares_of(settings: Settings) -> Shares:
    """Return the fractions of the classes that a random split uses for validation and for testing.

    The data set `folder` has settings for these fractions. For other data sets, they are `SHARES`.
    """
    if settings.task.source != "folder":
        return SHARES
    val, test = settings.value("folder.val_fraction"), settings.value("folder.test_fraction")
    assert isinstance(val, float)
    assert isinstance(test, float)
    return val, test


def load_folder(settings: Settings, device: torch.device | str) -> FolderSource:
    """Return a source of tasks from the folder given in `settings.task`. Images that are not cached are decoded.

    Raises:
        BadInput: if the folder is missing, has too few classes or images for the episodes, or does not fit in memory.
    """
    return load_listing(settings, list_folder(settings.task.folder, settings.task.class_lists), device)


def load_listing(settings: Settings, listing: Listing, device: torch.device | str) -> FolderSource:
    """Return a source of tasks from the folder that `listing` describes.

    Raises:
        BadInput: under the same conditions as in `load_folder`.
    """
    task = settings.task
    splits = split_classes(listing.classes, task.split_seed, shares_of(settings))
    # Report problems that the listing already shows before decoding, which may take minutes.
    check_sizes(settings, listing, splits, [len(folder.files) for folder in listing.classes])
    packed = load(listing, size=task.image_size, rgb=task.image_mode == "rgb")
    source = FolderSource(listing, packed, splits, device=device)
    check_sizes(settings, listing, splits, source.counts)
    return source


class FolderSource(PackedSource):
    """Tasks made from the classes of a folder."""

    name = "folder"

    def __init__(self, listing: Listing, packed: Packed, splits: Splits, *, device: torch.device | str) -> None:
        files = iter(range(len(listing.files)))
        self._usable = [
            [file for file in islice(files, len(folder.files)) if file not in packed.unusable]
            for folder in listing.classes
        ]
        """Usable files of each class, as indices into the listing."""
        names = [sanitize(folder.name, limit=40) for folder in listing.classes]
        super().__init__(packed.pixels, self._usable, names, splits, device=device)
        self._listing = listing
        self._digests = packed.digests
        self.fingerprint, former = self._fingerprints()
        self.former_fingerprints = (former,)
        self.left_out = (*listing.left_out, *packed.unusable.values())
        self.repeated = tuple(self._repeated())
        """Warnings about images that occur in several classes."""
        self.notices = tuple(filter(None, (_summary(listing, self.left_out), *self.repeated, packed.problem)))

    def check_drawings(self, split: Split, shots: int, queries: int) -> None:
        if sentence := too_few(self._listing, self._splits[split], self.counts, shots, queries):
            raise BadInput(sentence)

    def _fingerprints(self) -> tuple[str, str]:
        """Return two digests of what determines the tasks: the classes of each split and their images in order.

        The first digest depends on pixels. It does not change if the folder is copied, or if files get a new
        modification time, a different lossless format, or new names in the same order. The second digest, which
        checkpoints of earlier versions contain, depends on file names.
        """
        pixels, names = (hashlib.sha256(repr(self.input_shape).encode()) for _ in range(2))
        for split in SPLITS:
            for number in self._splits[split]:
                name, usable = self._listing.classes[number].name, self._usable[number]
                pixels.update(repr((split, name, len(usable))).encode())
                pixels.update(b"".join(self._digests[file] for file in usable))
                names.update(repr((split, name, [self._listing.files[file].path for file in usable])).encode())
        return f"pixels {pixels.hexdigest()}", names.hexdigest()

    def _repeated(self) -> Iterator[str]:
        """Yield a warning if images are in several splits, and another if images are in several classes of a split."""
        copies: dict[bytes, list[tuple[int, str]]] = {}
        for number, usable in enumerate(self._usable):
            for file in usable:
                copies.setdefault(self._digests[file], []).append((number, self._listing.files[file].path))
        split_of = {number: split for split in SPLITS for number in self._splits[split]}
        leaks, repeats = [], []
        for (first, path), *others in copies.values():
            if other := next((p for number, p in others if split_of[number] != split_of[first]), None):
                leaks.append((path, other))
            elif other := next((p for number, p in others if number != first), None):
                repeats.append((path, other))
        if leaks:
            yield (
                f"{_images(leaks, 'in several splits')}: held-out tasks contain images of another split, so results "
                "may be too good. Keep each image in one class"
            )
        if repeats:
            yield (
                f"{_images(repeats, 'in several classes of a split')}: the class of such an image is ambiguous. "
                "Keep each image in one class"
            )


def _images(repeated: Sequence[tuple[str, str]], where: str) -> str:
    """Return a clause about repeated images, such as `1 image is in several splits (a/1.png and b/1.png)`."""
    (a, b), count = repeated[0], len(repeated)
    example = f"{sanitize(a)} and {sanitize(b)}"
    return f"1 image is {where} ({example})" if count == 1 else f"{count:,} images are {where} (for example, {example})"


def _summary(listing: Listing, left_out: Sequence[LeftOut]) -> str:
    """Return a sentence that names the first few files that are left out, or an empty string if all files are used."""
    if not left_out:
        return ""
    root = quote(str(listing.root), 200)
    first = "; ".join(map(str, left_out[:3]))
    rest = f"; … (metatui data folder {root} lists all of them)" if len(left_out) > 3 else ""
    what = "file or folder" if len(left_out) == 1 else "files or folders"
    return f"{len(left_out):,} {what} left out of {root}: {first}{rest}"


def split_classes(classes: Sequence[ClassFolder], seed: int, shares: Shares = SHARES) -> Splits:
    """Return the classes of each split.

    Split folders or class lists define the splits. If they do not define `val`, a fifth of the training classes, chosen
    at random with `seed`, is used for validation. Without split folders and class lists, the classes are split at
    random with `seed`. `shares` are then the fractions of the classes for validation and for testing, and all other
    classes are used for training.
    """
    numbers = {split: [n for n, folder in enumerate(classes) if folder.split == split] for split in (*SPLITS, None)}
    if numbers[None]:
        shuffled = _shuffled(numbers[None], seed)
        val, test = (_share(share, len(shuffled)) for share in shares)
        parts = shuffled[val + test :], shuffled[:val], shuffled[val : val + test]
    elif not numbers["val"]:
        shuffled = _shuffled(numbers["train"], seed)
        val = _share(0.2, len(shuffled))
        parts = shuffled[val:], shuffled[:val], numbers["test"]
    else:
        parts = numbers["train"], numbers["val"], numbers["test"]
    return {split: sorted(part) for split, part in zip(SPLITS, parts, strict=True)}


def check_sizes(settings: Settings, listing: Listing, splits: Splits, counts: Sequence[int]) -> None:
    """Raise SettingsError if there are too few classes or images for the tasks.

    The error names each setting that requires too many classes or images.

    Args:
        counts: number of usable images of each class.
    """
    if problems := [*_class_problems(settings, listing, splits), *_image_problems(settings, listing, splits, counts)]:
        raise SettingsError(problems)


def _class_problems(settings: Settings, listing: Listing, splits: Splits) -> Iterator[Problem]:
    """Yield a problem for each setting that requires more classes than a split has."""
    ways, most = settings.task.ways, len(splits["train"])
    if min(map(len, splits.values())) < ways:
        sentence = f"task.ways is {ways}, but {too_few_classes(ways, settings, listing, splits)}"
        yield Problem("task.ways", sentence)
    if most < settings.ways_in_training[1] and settings.task.ways_range:
        sentence = (
            f"task.ways_range is {quote(settings.task.ways_range)}, but its upper end must be at most {most}, the "
            f"number of training classes of {quote(str(listing.root), 200)}"
        )
        yield Problem("task.ways_range", sentence)


def too_few_classes(ways: int, settings: Settings, listing: Listing, splits: Splits) -> str:
    """Explain that a split has fewer than `ways` classes, and suggest what to change."""
    count, fewest = len(listing.classes), min(map(len, splits.values()))
    remedies = [f"use at most {fewest} ways"] if fewest > 1 else []
    divided = "divided"
    if listing.classes[0].split is None:
        shares = val, test = shares_of(settings)
        remedies += [f"provide at least {_fewest_classes(ways, shares):,} class folders"]
        if settings.task.source == "folder":
            divided += f" according to folder.val_fraction = {val:g} and folder.test_fraction = {test:g}"
            possible_ways, share = max_ways_of_split(count, ways)
            fractions = f"set folder.val_fraction and folder.test_fraction to {share:g}"
            if possible_ways > fewest:
                remedies += [
                    fractions if possible_ways == ways else f"use at most {possible_ways} ways and {fractions}"
                ]
        if count >= len(SPLITS) * ways:
            files = "the files train.txt, val.txt and test.txt of this folder, one class per line"
            remedies += [f"name the classes of each split in {files}"]
    else:
        remedies += ["add classes to the smaller splits"]
    are = "is" if count == 1 else "are"
    sizes = ", ".join(f"{len(splits[split])} for {SPLIT_NAMES[split]}" for split in SPLITS[:-1])
    return (
        f"the {format_count(count, 'class')} of {quote(str(listing.root), 200)} {are} {divided} into {sizes} and "
        f"{len(splits['test'])} for testing: {', or '.join(remedies)}"
    )


def max_ways_of_split(count: int, most: int) -> tuple[int, float]:
    """Return the largest number of ways, at most `most`, that a random split of `count` classes allows.

    Returns:
        The number of ways, and the fraction of the classes that validation and testing each need for it, or two zeros
        if no split allows two ways.
    """
    for ways in range(min(most, count // len(SPLITS)), 1, -1):
        share = ceil(100 * ways / count) / 100
        if count - 2 * _share(share, count) >= ways:
            return ways, share
    return 0, 0.0


def _fewest_classes(ways: int, shares: Shares) -> int:
    """Return how many classes are needed so that each part of a random split has at least `ways` classes."""

    def smallest_part(count: int) -> int:
        held_out = [_share(share, count) for share in shares]
        return min(*held_out, count - sum(held_out))

    # Rounding makes a held-out part larger by at most 0.5, and so the training part by at most 1.
    count = ceil(max(*((ways - 0.5) / share for share in shares), (ways - 1) / (1 - sum(shares)))) - 1
    while smallest_part(count) < ways:
        count += 1
    return count


def _image_problems(settings: Settings, listing: Listing, splits: Splits, counts: Sequence[int]) -> Iterator[Problem]:
    """Yield a problem for each setting that determines shots, if a class has too few images for shots and queries."""
    shots = shots_of_splits(settings)
    training, held_out = next(iter(shots)), next(reversed(shots))
    classes: dict[str, list[int]] = {training: [], held_out: []}
    for split in SPLITS:
        classes[training if split == "train" else held_out] += splits[split]
    for field, numbers in classes.items():
        if sentence := too_few(listing, sorted(numbers), counts, shots[field], settings.task.queries, field):
            yield Problem(field, sentence)


def too_few(
    listing: Listing, classes: Sequence[int], counts: Sequence[int], shots: int, queries: int, field: str = "task.shots"
) -> str:
    """Explain which of `classes` have fewer than `shots` + `queries` images.

    Args:
        field: setting that determines `shots`.

    Returns:
        A sentence, or an empty string if all classes have enough images.
    """
    small = sorted((n for n in classes if counts[n] < shots + queries), key=lambda n: counts[n])
    if not small:
        return ""
    examples = ", ".join(f"{quote(listing.classes[n].name)} ({counts[n]})" for n in small[:5])
    more = f" and {len(small) - 5} more" if len(small) > 5 else ""
    setting = "the upper end of task.shots_range" if field == "task.shots_range" else field
    fewest = counts[small[0]]
    remedy = f"use at most {fewest} shots and queries together, or " if fewest > 1 else ""
    which = "this class" if len(small) == 1 else "these classes"
    return (
        f"{setting} is {shots} and task.queries is {queries}, but their sum must be at most the number of images of a "
        f"class, and there are too few usable images in {examples}{more} of {quote(str(listing.root), 200)}: "
        f"{remedy}add images to {which}"
    )


def _shuffled(numbers: Sequence[int], seed: int) -> list[int]:
    order = random.choose(random.keys(seed, "folder/split", torch.tensor(0)), len(numbers), len(numbers))
    return [numbers[place] for place in order.tolist()]


def _share(share: float, total: int) -> int:
    """Return a fraction of `total`, rounded half up."""
    return int(share * total + 0.5)
