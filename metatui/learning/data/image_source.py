"""What every source of N-way K-shot image tasks does alike: choose classes and drawings, and lay out episodes.

Which classes and which drawings are decided on the CPU by counting random numbers, so they do not depend on the
device; only the images go there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from metatui.learning.data import random
from metatui.learning.data.episodes import Episodes, Split
from metatui.learning.hardware.devices import moved
from metatui.utils.errors import BadInput

SIDE = 28
"""Height and width of an image in pixels."""


def distinct(key: Tensor, count: int, among: int) -> Tensor:
    """`count` distinct numbers below `among` for each key, in random order, at a cost that `among` does not touch.

    Floyd's algorithm (Bentley and Floyd 1987, "Programming pearls: a sample of brilliance"): number i is drawn
    below among - count + i + 1, and one that is taken already gives way to the highest of its range.

    Args:
        key: int64 [...].
        among: at most 2^53.

    Returns:
        int64 [..., count].
    """
    if count > among:
        raise ValueError(f"{count} distinct numbers cannot be chosen among {among}")
    chance = random.uniform(key, count)
    chosen = torch.empty(*key.shape, count, dtype=torch.int64)
    for i in range(count):
        highest = among - count + i
        number = (chance[..., i] * (highest + 1)).to(torch.int64)
        taken = (chosen[..., :i] == number.unsqueeze(-1)).any(-1)
        chosen[..., i] = torch.where(taken, highest, number)
    return chosen.gather(-1, random.choose(key, count, count, offset=count))


def nearest_neighbour_accuracy(episodes: Episodes) -> Tensor:
    """Query accuracy of each episode, [T] from 0 to 1, when a query is given the label of the support image that is
    nearest to it pixel by pixel (Euclidean). What a learner must beat to have learned anything."""
    distance = torch.cdist(episodes.query_x.flatten(2), episodes.support_x.flatten(2))
    predicted = episodes.support_y.gather(1, distance.argmin(2))
    return (predicted == episodes.query_y).to(torch.float32).mean(1)


class ImageSource(ABC):
    """N-way K-shot tasks of images; a TaskSource but for what each subclass says of its classes.

    The classes and the query drawings of a task do not depend on the shots: with more shots only support is added.
    """

    kind: Literal["classification"] = "classification"
    input_shape: tuple[int, ...] = (1, SIDE, SIDE)
    fingerprint: str = ""
    former_fingerprints: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    turns: int = 1
    """How many classes in a row are one character, the first one upright."""
    name: ClassVar[str]

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)

    @abstractmethod
    def class_count(self, split: Split) -> int:
        """Classes in `split`, numbered from 0."""

    @abstractmethod
    def class_name(self, split: Split, number: int) -> str:
        """What a person may call a class."""

    @abstractmethod
    def check_drawings(self, split: Split, shots: int, queries: int) -> None:
        """Raises BadInput where a class of `split` has fewer drawings than `shots` + `queries`."""

    @abstractmethod
    def draw(self, split: Split, classes: Tensor, keys: Tensor, count: int) -> Tensor:
        """`count` different drawings of each class, chosen by its key; a larger count keeps the first ones.

        Args:
            classes, keys: int64 [C], on the CPU.

        Returns:
            float32 [C, count, H, W], or [C, count, channels, H, W], on the source's device, from 0 to 1, ink as 1.
        """

    @property
    @abstractmethod
    def pooled_classes(self) -> int:
        """Classes that `pooled_batch` draws from."""

    def classes(self, split: Split, tasks: Sequence[int], *, seed: int, ways: int) -> Tensor:
        """Class numbers of each task, int64 [T, ways], distinct within a task. Raises BadInput."""
        available = self.class_count(split)
        if ways > available:
            raise BadInput(f"task.ways is {ways}, but must be at most {available}, the classes of the {split} split")
        numbers = random.numbered(tasks)
        return distinct(random.keys(seed, f"{self.name}/{split}/classes", numbers), ways, available)

    def episodes(
        self, split: Split, tasks: Sequence[int], *, seed: int, ways: int, shots: int, queries: int
    ) -> Episodes:
        self.check_drawings(split, shots, queries)
        classes = self.classes(split, tasks, seed=seed, ways=ways)
        numbers = random.numbered(tasks)
        keys = random.bits(random.keys(seed, f"{self.name}/{split}/drawings", numbers), ways)
        images = self.draw(split, classes.flatten(), keys.flatten(), queries + shots)
        images = images.reshape(len(tasks), ways, queries + shots, *self.input_shape)
        labels = torch.arange(ways, device=self.device)
        return Episodes(
            support_x=images[:, :, queries:].flatten(1, 2),
            support_y=labels.repeat_interleave(shots).repeat(len(tasks), 1),
            query_x=images[:, :, :queries].flatten(1, 2),
            query_y=labels.repeat_interleave(queries).repeat(len(tasks), 1),
        )

    def describe(self, split: Split, task: int, *, seed: int, ways: int) -> str:
        numbers = self.classes(split, [task], seed=seed, ways=ways)[0].tolist()
        return ", ".join(self.class_name(split, number) for number in numbers)

    def pooled_batch(self, batch: int, *, seed: int, size: int) -> tuple[Tensor, Tensor]:
        key = random.keys(seed, f"{self.name}/pooled", torch.tensor(batch))
        classes = (random.uniform(key, size) * self.pooled_classes).to(torch.int64)
        images = self.draw("train", classes, random.bits(key, size, offset=size), 1)
        return images.reshape(size, *self.input_shape), moved(classes, self.device)
