"""N-way K-shot episodes of images: the part that all image sources share.

Classes and images are chosen on the CPU with counter-based random numbers, so the choice does not depend on the device.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import comb

import torch
from torch import Tensor

from metatui.events import Pool
from metatui.learning.data import random
from metatui.learning.data.episodes import SPLITS, Episodes, Split, TaskSource
from metatui.learning.data.schema import MAX_CLASSES, DataSchema
from metatui.learning.hardware.devices import to_device
from metatui.utils.errors import BadInput
from metatui.utils.text import sanitize

Splits = Mapping[Split, Sequence[int]]
"""Indices of the classes in each split, in ascending order. The splits are disjoint."""

SIDE = 28
"""Height and width in pixels of glyphs and Omniglot images."""


def sample_distinct(key: Tensor, count: int, among: int) -> Tensor:
    """Draw `count` distinct numbers below `among` for each key, in random order. Takes O(count^2) time.

    Floyd's algorithm (Bentley and Floyd 1987, "Programming pearls: a sample of brilliance"): number i is drawn below
    among - count + i + 1, and a number that is already taken is replaced by the highest number of its range.

    Args:
        key: int64 [...].
        among: at most 2^53.

    Returns:
        int64 [..., count].
    """
    if count > among:
        raise ValueError(f"cannot choose {count} distinct numbers from {among}")
    chance = random.uniform(key, count)
    chosen = torch.empty(*key.shape, count, dtype=torch.int64)
    for i in range(count):
        highest = among - count + i
        number = (chance[..., i] * (highest + 1)).to(torch.int64)
        taken = (chosen[..., :i] == number.unsqueeze(-1)).any(-1)
        chosen[..., i] = torch.where(taken, highest, number)
    return chosen.gather(-1, random.choose(key, count, count, offset=count))


def permutation_prefix(keys: Tensor, count: int, among: Tensor) -> Tensor:
    """Return the first `count` elements of a random permutation of range(among) for each key.

    A larger `count` only adds elements at the end. The method is that of Durstenfeld (1964, "Algorithm 235:
    Random permutation"), stopped after `count` elements.

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


class ImageSource(TaskSource):
    """A source of N-way K-shot image tasks; subclasses provide the classes and their images.

    The classes and query images of a task do not depend on the number of shots: more shots only add support images.
    """

    kind = "classification"
    input_shape: tuple[int, ...] = (1, SIDE, SIDE)
    turns: int = 1
    """Number of consecutive classes that are rotations of one character, beginning with the upright one."""
    name: str
    """Prefix of the names of this source's random number streams."""

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)

    @abstractmethod
    def class_count(self, split: Split) -> int:
        """Return the number of classes in `split`. Class numbers start at 0."""

    @abstractmethod
    def class_name(self, split: Split, number: int) -> str:
        """Return the name of a class for display."""

    @abstractmethod
    def check_drawings(self, split: Split, shots: int, queries: int) -> None:
        """Raise BadInput if a class of `split` has fewer images than `shots` + `queries`."""

    @abstractmethod
    def draw(self, split: Split, classes: Tensor, keys: Tensor, count: int) -> Tensor:
        """Draw `count` distinct images of each class, using the class's random key.

        With the same keys, a larger `count` returns the same images in the same order, followed by further images.

        Args:
            classes, keys: int64 [C], on the CPU.

        Returns:
            float32 [C, count, H, W] or [C, count, channels, H, W] on the source's device, from 0 to 1.
        """

    @property
    def pooled_classes(self) -> int:
        return self.class_count("train")

    @property
    def schema(self) -> DataSchema:
        counts = {split: self.class_count(split) for split in SPLITS}
        names: dict[str, tuple[str, ...]] = {
            split: tuple(sanitize(self.class_name(split, number)) for number in range(count))
            for split, count in counts.items()
            if count <= MAX_CLASSES
        }
        return replace(super().schema, classes=names)

    def classes(self, split: Split, tasks: Sequence[int], *, seed: int, ways: int) -> Tensor:
        """Return the class indices of each task, int64 [T, ways]. The classes of a task are distinct.

        Raises:
            BadInput: if the split has fewer than `ways` classes.
        """
        available = self.class_count(split)
        if ways > available:
            raise BadInput(
                f"task.ways is {ways}, but must be at most {available}, the number of classes in the {split} split"
            )
        return sample_distinct(
            random.keys(seed, f"{self.name}/{split}/classes", random.task_numbers(tasks)), ways, available
        )

    def episodes(
        self, split: Split, tasks: Sequence[int], *, seed: int, ways: int, shots: int, queries: int
    ) -> Episodes:
        self.check_drawings(split, shots, queries)
        classes = self.classes(split, tasks, seed=seed, ways=ways)
        keys = random.bits(random.keys(seed, f"{self.name}/{split}/drawings", random.task_numbers(tasks)), ways)
        images = self.draw(split, classes.flatten(), keys.flatten(), queries + shots)
        images = images.reshape(len(tasks), ways, queries + shots, *self.input_shape)
        labels = torch.arange(ways, device=self.device)
        return Episodes(
            support_x=images[:, :, queries:].flatten(1, 2),
            support_y=labels.repeat_interleave(shots).repeat(len(tasks), 1),
            query_x=images[:, :, :queries].flatten(1, 2),
            query_y=labels.repeat_interleave(queries).repeat(len(tasks), 1),
        )

    def pool(self, split: Split, ways: int) -> Pool:
        count = self.class_count(split)
        return Pool(count, comb(count, ways))

    def describe(self, split: Split, task: int, *, seed: int, ways: int) -> str:
        numbers = self.classes(split, [task], seed=seed, ways=ways)[0].tolist()
        return ", ".join(self.class_name(split, number) for number in numbers)

    def pooled_batch(self, batch: int, *, seed: int, size: int) -> tuple[Tensor, Tensor]:
        key = random.keys(seed, f"{self.name}/pooled", torch.tensor(batch))
        classes = (random.uniform(key, size) * self.pooled_classes).to(torch.int64)
        images = self.draw("train", classes, random.bits(key, size, offset=size), 1)
        return images.reshape(size, *self.input_shape), to_device(classes, self.device)


class PackedSource(ImageSource):
    """Tasks made from images that are all kept in device memory, as uint8."""

    def __init__(
        self,
        images: Tensor,
        rows: Sequence[Sequence[int]],
        names: Sequence[str],
        splits: Splits,
        *,
        device: torch.device | str,
    ) -> None:
        """Create the source.

        Args:
            images: uint8 [images, channels, height, width], in which white is 255.
            rows: positions in `images` of the images of each class.
            names: the name of each class.
            splits: positions in `rows` of the classes of each split.
        """
        super().__init__(device)
        self.input_shape = tuple(images.shape[1:])
        self.counts = [len(each) for each in rows]
        """Number of images in each class."""
        self._images = images.to(self.device)
        self._names = names
        self._splits = splits
        self._numbers = {split: torch.tensor(splits[split], dtype=torch.int64) for split in SPLITS}
        self._rows = torch.tensor([row for each in rows for row in each], dtype=torch.int64)
        self._count = torch.tensor(self.counts, dtype=torch.int64)
        self._first = self._count.cumsum(0) - self._count

    def class_count(self, split: Split) -> int:
        return len(self._splits[split])

    def class_name(self, split: Split, number: int) -> str:
        return self._names[self._splits[split][number]]

    def check_drawings(self, split: Split, shots: int, queries: int) -> None:
        fewest = min((self.counts[number] for number in self._splits[split]), default=0)
        if shots + queries > fewest:
            raise BadInput(
                f"task.shots is {shots} and task.queries is {queries}, but their sum must be at most {fewest}, the "
                f"smallest number of images of a class in the {split} split"
            )

    def draw(self, split: Split, classes: Tensor, keys: Tensor, count: int) -> Tensor:
        numbers = self._numbers[split][classes]
        rows = self._rows[self._first[numbers].unsqueeze(1) + permutation_prefix(keys, count, self._count[numbers])]
        images = self._images.index_select(0, to_device(rows.flatten(), self.device))
        # A multiplication, because devices round a division by 255 differently.
        return images.reshape(*rows.shape, *self.input_shape).to(torch.float32).mul_(1 / 255)
