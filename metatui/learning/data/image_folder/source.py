"""`folder`: images of the user's own, one folder for each class."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from metatui.config.settings import Settings
from metatui.learning.data import random
from metatui.learning.data.episodes import SPLITS, Split
from metatui.learning.data.image_folder.cache import DIGEST, Packed, load
from metatui.learning.data.image_folder.scan import LeftOut, Listing, list_folder
from metatui.learning.data.image_folder.splits import Splits, check_images, check_ways, split_classes, too_few
from metatui.learning.data.image_source import ImageSource
from metatui.learning.hardware.devices import moved
from metatui.utils.errors import BadInput, quote
from metatui.utils.text import sanitize


def load_folder(settings: Settings, device: torch.device | str) -> FolderSource:
    """The tasks of the folder that `settings.task` name, packed first where it has changed.

    Raises:
        BadInput: it is not there, or holds too few classes or images for the episodes, or too many for the memory.
    """
    task = settings.task
    listing = list_folder(task.folder)
    splits = split_classes(listing.classes, task.split_seed)
    # What the names alone can say is said before anything is decoded.
    check_ways(listing, splits, task.ways)
    check_images(settings, listing, splits, [len(each.files) for each in listing.classes])
    packed = load(listing, size=task.image_size, rgb=task.image_mode == "rgb")
    source = FolderSource(listing, packed, splits, device=device)
    check_images(settings, listing, splits, source.counts)
    return source


class FolderSource(ImageSource):
    """Tasks of a folder's classes, all of whose images are on the device as uint8."""

    name = "folder"

    def __init__(self, listing: Listing, packed: Packed, splits: Splits, *, device: torch.device | str) -> None:
        super().__init__(device)
        self._listing = listing
        self._splits = splits
        self._numbers = {split: torch.tensor(splits[split], dtype=torch.int64) for split in SPLITS}
        self._images = packed.pixels.to(self.device)  # [images, channels, size, size], class by class
        gone = {number for number, _ in packed.left_out}
        numbers = iter(range(len(listing.files)))
        self._kept = [[file.path for file in each.files if next(numbers) not in gone] for each in listing.classes]
        self.counts = [len(kept) for kept in self._kept]
        """Usable images of each of the listing's classes."""
        self._count = torch.tensor(self.counts, dtype=torch.int64)
        self._first = self._count.cumsum(0) - self._count
        self.input_shape = tuple(packed.pixels.shape[1:])
        self._digests = packed.digests
        self.fingerprint = self._fingerprint()
        self.former_fingerprints = (self._fingerprint_of_names(),)
        self.left_out = (*listing.left_out, *packed.unusable(listing))
        self.repeated = tuple(self._repeated())
        """Sentences about images that occur in several classes."""
        self.notices = tuple(filter(None, (_summary(listing, self.left_out), *self.repeated, packed.problem)))

    def class_count(self, split: Split) -> int:
        return len(self._splits[split])

    def class_name(self, split: Split, number: int) -> str:
        return sanitize(self._listing.classes[self._splits[split][number]].name, limit=40)

    def check_drawings(self, split: Split, shots: int, queries: int) -> None:
        if sentence := too_few(self._listing, self._splits[split], self.counts, shots, queries):
            raise BadInput(sentence)

    @property
    def pooled_classes(self) -> int:
        return self.class_count("train")

    def draw(self, split: Split, classes: Tensor, keys: Tensor, count: int) -> Tensor:
        numbers = self._numbers[split][classes]
        rows = self._first[numbers].unsqueeze(1) + shuffled(keys, count, self._count[numbers])
        images = self._images.index_select(0, moved(rows.flatten(), self.device)).reshape(
            *rows.shape, *self.input_shape
        )
        # Not divided by 255: devices round that differently.
        return images.to(torch.float32).mul_(1 / 255)

    def _fingerprint(self) -> str:
        """Digest of what decides the tasks: the classes of each split, and the pixels of their images in order.

        It stays the same if the folder is copied, or if files are touched, stored in another lossless format or renamed
        in the same order. Another order of the files makes other tasks.
        """
        digest = hashlib.sha256(repr(self.input_shape).encode())
        for split in SPLITS:
            for number in self._splits[split]:
                first, count = int(self._first[number]), self.counts[number]
                digest.update(repr((split, self._listing.classes[number].name, count)).encode())
                digest.update(self._digests[DIGEST * first : DIGEST * (first + count)])
        return f"pixels {digest.hexdigest()}"

    def _fingerprint_of_names(self) -> str:
        """The fingerprint in checkpoints of earlier versions, which depends only on the names of files."""
        digest = hashlib.sha256(repr(self.input_shape).encode())
        for split in SPLITS:
            for number in self._splits[split]:
                digest.update(repr((split, self._listing.classes[number].name, self._kept[number])).encode())
        return digest.hexdigest()

    def _repeated(self) -> Iterator[str]:
        """A sentence about images in several splits, and one about images in several classes of a split."""
        seen: dict[bytes, list[tuple[int, str]]] = {}
        names = [(number, path) for number, paths in enumerate(self._kept) for path in paths]
        for n, named in enumerate(names):
            seen.setdefault(self._digests[DIGEST * n : DIGEST * (n + 1)], []).append(named)
        split_of = {number: split for split in SPLITS for number in self._splits[split]}
        leaks, repeats = [], []
        for same in (each for each in seen.values() if len(each) > 1):
            first, path = same[0]
            if other := next((p for number, p in same if split_of[number] != split_of[first]), None):
                leaks.append((path, other))
            elif other := next((p for number, p in same if number != first), None):
                repeats.append((path, other))
        if leaks:
            yield (
                f"{_images(leaks, 'in several splits')}: held-out tasks contain images of another split, so results "
                "may be too good. Keep each image in one class"
            )
        if repeats:
            yield (
                f"{_images(repeats, 'in several classes of a split')}: no learner can tell these classes apart by "
                "such an image. Keep each image in one class"
            )


def _images(repeated: Sequence[tuple[str, str]], where: str) -> str:
    """Say how many images are repeated, with the first of them."""
    (a, b), count = repeated[0], len(repeated)
    example = f"{sanitize(a)} and {sanitize(b)}"
    return f"1 image is {where} ({example})" if count == 1 else f"{count:,} images are {where} (such as {example})"


def shuffled(keys: Tensor, count: int, among: Tensor) -> Tensor:
    """The first `count` numbers of a shuffle of those below `among`, one shuffle for each key; a larger `count` keeps
    the first ones. (The beginning of Durstenfeld 1964, "Algorithm 235: Random permutation".)

    Args:
        keys: int64 [C].
        among: int64 [C], at least `count`.

    Returns:
        int64 [C, count].
    """
    step = torch.arange(count)
    places = step + (random.uniform(keys, count) * (among.unsqueeze(1) - step)).to(torch.int64)
    order = torch.arange(int(among.max())).repeat(len(keys), 1)
    for i in range(count):
        place = places[:, i : i + 1]
        drawn = order.gather(1, place)
        order.scatter_(1, place, order[:, i : i + 1].clone())
        order[:, i : i + 1] = drawn
    return order[:, :count]


def _summary(listing: Listing, left_out: Sequence[LeftOut]) -> str:
    """How much of the folder no task shows, and the first of it; empty where all is shown."""
    if not left_out:
        return ""
    root = quote(str(listing.root), 200)
    first = "; ".join(map(str, left_out[:3]))
    rest = f"; … (metatui data folder {root} lists them all)" if len(left_out) > 3 else ""
    return f"{len(left_out):,} left out of {root}: {first}{rest}"
