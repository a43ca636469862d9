"""N-way K-shot episodes of images: the part that all image sources share.

Classes and images are chosen on the CPU by counter-based random numbers, so the choice does not depend on the device.
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
"""Height and width in pixels of glyphs and Omniglot images."""


def distinct(key: Tensor, count: int, among: int) -> Tensor:
    """Draw `count` distinct numbers below `among` for each key, in random order, in O(count^2).

    Floyd's algorithm (Bentley and Floyd 1987, "Programming pearls: a sample of brilliance"): number i is drawn below
    among - count + i + 1, and a number that is already taken is replaced by the highest of its range.

    Args:
        key: int64 [...].
        among: at most 2^53.

    Returns:
        int64 [..., count].
    """
    if count > among:
        raise ValueError(f"{count} distinct numbers cannot be chosen from {among}")
    chance = random.uniform(key, count)
    chosen = torch.empty(*key.shape, count, dtype=torch.int64)
    for i in range(count):
        highest = among - count + i
        number = (chance[..., i] * (highest + 1)).to(torch.int64)
        taken = (chosen[..., :i] == number.unsqueeze(-1)).any(-1)
        chosen[..., i] = torch.where(taken, highest, number)
    return chosen.gather(-1, random.choose(key, count, count, offset=count))


class ImageSource(ABC):
    """A TaskSource of N-way K-shot image tasks; subclasses provide the classes and their images.

    The classes and query images of a task do not depend on the number of shots: more shots only add support images.
    """

    kind: Literal["classification"] = "classification"
    input_shape: tuple[int, ...] = (1, SIDE, SIDE)
    fingerprint: str = ""
    former_fingerprints: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    turns: int = 1
    """Number of consecutive classes that are rotations of one character; the first is upright."""
    name: ClassVar[str]

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)

    @abstractmethod
    def class_count(self, split: Split) -> int:
        """Return the number of classes in `split`. They are numbered from 0."""

    @abstractmethod
    def class_name(self, split: Split, number: int) -> str:
        """Return the name of a class for display."""

    @abstractmethod
    def check_drawings(self, split: Split, shots: int, queries: int) -> None:
        """Raise BadInput if a class of `split` has fewer images than `shots` + `queries`."""

    @abstractmethod
    def draw(self, split: Split, classes: Tensor, keys: Tensor, count: int) -> Tensor:
        """Return `count` distinct images of each class, chosen by its key. A larger `count` only adds images.

        Args:
            classes, keys: int64 [C], on the CPU.

        Returns:
            float32 [C, count, H, W] or [C, count, channels, H, W] on the source's device, from 0 to 1, ink as 1.
        """

    @property
    @abstractmethod
    def pooled_classes(self) -> int:
        """Number of classes that `pooled_batch` draws from."""

    def classes(self, split: Split, tasks: Sequence[int], *, seed: int, ways: int) -> Tensor:
        """Return the class numbers of each task, int64 [T, ways], distinct within a task.

        Raises:
            BadInput: if the split has fewer than `ways` classes.
        """
        available = self.class_count(split)
        if ways > available:
            raise BadInput(
                f"task.ways is {ways}, but must be at most {available}, the number of classes in the {split} split"
            )
        return distinct(random.keys(seed, f"{self.name}/{split}/classes", random.task_numbers(tasks)), ways, available)

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

    def describe(self, split: Split, task: int, *, seed: int, ways: int) -> str:
        numbers = self.classes(split, [task], seed=seed, ways=ways)[0].tolist()
        return ", ".join(self.class_name(split, number) for number in numbers)

    def pooled_batch(self, batch: int, *, seed: int, size: int) -> tuple[Tensor, Tensor]:
        key = random.keys(seed, f"{self.name}/pooled", torch.tensor(batch))
        classes = (random.uniform(key, size) * self.pooled_classes).to(torch.int64)
        images = self.draw("train", classes, random.bits(key, size, offset=size), 1)
        return images.reshape(size, *self.input_shape), moved(classes, self.device)
