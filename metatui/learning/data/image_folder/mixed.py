"""The `mixed` source: each task comes from one of several folders of images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from metatui.config.settings import Settings
from metatui.events import Pool
from metatui.learning.data import random
from metatui.learning.data.episodes import SPLITS, Split
from metatui.learning.data.image_folder.cache import check_memory
from metatui.learning.data.image_folder.scan import list_folder
from metatui.learning.data.image_folder.source import load_listing
from metatui.learning.data.image_source import ImageSource
from metatui.learning.hardware.devices import to_device


def load_mixed(settings: Settings, folders: Sequence[str], device: torch.device | str) -> MixedSource:
    """Return a source of tasks from all `folders`.

    Raises:
        BadInput: if a folder is missing, or has too few classes or images for the episodes, or if the images of all
            folders do not fit in memory.
    """
    # List all folders first, so that mistakes are reported before images are decoded.
    listings = [list_folder(folder, setting="mixed.folders contains") for folder in folders]
    check_memory(listings, size=settings.task.image_size, rgb=settings.task.image_mode == "rgb")
    names = [listing.root.name for listing in listings]
    labels = [
        name if names.count(name) == 1 else str(listing.root) for name, listing in zip(names, listings, strict=True)
    ]
    sources = [load_listing(settings, listing, device) for listing in listings]
    return MixedSource(dict(zip(labels, sources, strict=True)), device=device)


class MixedSource(ImageSource):
    """Tasks from several sources with the same image size. Each source is chosen with the same probability.

    All classes of a task come from one source. The classes of a split are numbered from the first source to the last.
    """

    name = "mixed"

    def __init__(self, sources: dict[str, ImageSource], *, device: torch.device | str) -> None:
        """Create the source. The keys of `sources` are used in the names of classes."""
        super().__init__(device)
        self._names = tuple(sources)
        self._sources = tuple(sources.values())
        self._starts = {
            split: torch.tensor([0, *(source.class_count(split) for source in self._sources)]).cumsum(0)
            for split in SPLITS
        }
        """Index of the first class of each source, followed by the total number of classes, for each split."""
        self.input_shape = self._sources[0].input_shape
        fingerprints = repr([source.fingerprint for source in self._sources])
        self.fingerprint = f"mixed {hashlib.sha256(fingerprints.encode()).hexdigest()}"
        self.notices = tuple(notice for source in self._sources for notice in source.notices)

    def class_count(self, split: Split) -> int:
        return int(self._starts[split][-1])

    def class_name(self, split: Split, number: int) -> str:
        part = int(self._parts(split, torch.tensor(number)))
        return f"{self._names[part]}/{self._class_name(split, part, number)}"

    def check_drawings(self, split: Split, shots: int, queries: int) -> None:
        for source in self._sources:
            source.check_drawings(split, shots, queries)

    def classes(self, split: Split, tasks: Sequence[int], *, seed: int, ways: int) -> Tensor:
        key = random.keys(seed, f"mixed/{split}/source", random.task_numbers(tasks))
        parts = (random.uniform(key, 1)[:, 0] * len(self._sources)).to(torch.int64)
        classes = torch.empty(len(tasks), ways, dtype=torch.int64)
        for part, source in enumerate(self._sources):
            rows = (parts == part).nonzero()[:, 0]
            chosen = source.classes(split, [tasks[row] for row in rows.tolist()], seed=seed, ways=ways)
            classes[rows] = chosen + self._starts[split][part]
        return classes

    def pool(self, split: Split, ways: int) -> Pool:
        pools = [source.pool(split, ways) for source in self._sources]
        return Pool(sum(pool.size for pool in pools), sum(pool.tasks for pool in pools))

    def describe(self, split: Split, task: int, *, seed: int, ways: int) -> str:
        numbers = self.classes(split, [task], seed=seed, ways=ways)[0]
        part = int(self._parts(split, numbers[0]))
        names = ", ".join(self._class_name(split, part, number) for number in numbers.tolist())
        return f"{self._names[part]}: {names}"

    def draw(self, split: Split, classes: Tensor, keys: Tensor, count: int) -> Tensor:
        images = torch.empty(len(classes), count, *self.input_shape, dtype=torch.float32, device=self.device)
        parts = self._parts(split, classes)
        for part, source in enumerate(self._sources):
            rows = (parts == part).nonzero()[:, 0]
            if len(rows):
                numbers = classes[rows] - self._starts[split][part]
                images[to_device(rows, self.device)] = source.draw(split, numbers, keys[rows], count)
        return images

    def _parts(self, split: Split, classes: Tensor) -> Tensor:
        """Return the index of the source of each class."""
        return torch.bucketize(classes, self._starts[split], right=True) - 1

    def _class_name(self, split: Split, part: int, number: int) -> str:
        return self._sources[part].class_name(split, number - int(self._starts[split][part]))
