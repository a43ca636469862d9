"""Episodes, and what every source of tasks offers.

In the shape descriptions T is the number of tasks (episodes) in a batch, N the ways, K the shots and Q the queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from metatui.learning.hardware.devices import moved

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Kind = Literal["regression", "classification"]


@dataclass(frozen=True)
class Episodes:
    """A batch of tasks; one task's data is one index into the leading axis of every tensor.

    Images are ordered by class, then by drawing: the support set of class n is rows n*K to n*K + K - 1.
    """

    support_x: Tensor
    """[T, K, 1] points, or [T, N*K, C, H, W] images with ink as 1."""
    support_y: Tensor
    """[T, K, 1] values, or [T, N*K] labels (int64, 0 to N-1)."""
    query_x: Tensor
    """[T, Q, 1] points, or [T, N*Q, C, H, W] images."""
    query_y: Tensor
    """[T, Q, 1] values, or [T, N*Q] labels."""

    def __len__(self) -> int:
        return self.support_x.shape[0]

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Episodes:
        """The same episodes on `device`, what is real-valued as `dtype`."""

        def converted(t: Tensor) -> Tensor:
            return moved(t, torch.device(device), dtype if t.is_floating_point() else None)

        return Episodes(*map(converted, self.tensors()))

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Support x and y, query x and y."""
        return self.support_x, self.support_y, self.query_x, self.query_y

    def with_queries(self, queries: int, ways: int) -> Episodes:
        """The same image tasks with at most the first `queries` query images of each class."""

        def first(t: Tensor) -> Tensor:
            return torch.unflatten(t, 1, (ways, -1))[:, :, :queries].flatten(1, 2)

        return Episodes(self.support_x, self.support_y, first(self.query_x), first(self.query_y))

    def chunk(self, start: int, stop: int) -> Episodes:
        """Tasks `start` to `stop - 1`."""
        return Episodes(*(t.narrow(0, start, stop - start) for t in self.tensors()))


class TaskSource(Protocol):
    """Where tasks come from. Task i of a split is a pure function of (seed, split, i), on any device."""

    @property
    def kind(self) -> Kind: ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example: (1,) for a point, (C, H, W) for an image."""
        ...

    @property
    def fingerprint(self) -> str:
        """Another one where the data are others, so that task i is not what it was; empty where they never are."""
        ...

    @property
    def former_fingerprints(self) -> Sequence[str]:
        """Fingerprints that earlier versions of metatui computed for the same data."""
        ...

    @property
    def notices(self) -> Sequence[str]:
        """What a person is to know of the data, such as what was left out; a sentence each."""
        ...

    def episodes(
        self, split: Split, tasks: Sequence[int], *, seed: int, ways: int, shots: int, queries: int
    ) -> Episodes:
        """The episodes of the task numbers `tasks` (each at least 0) in this order, float32, on the source's
        device. Regression ignores `ways`. Raises BadInput where there are not enough classes or drawings."""
        ...

    def describe(self, split: Split, task: int, *, seed: int, ways: int) -> str:
        """What a person may call the task: its amplitude and phase, or its characters."""
        ...

    def pooled_batch(self, batch: int, *, seed: int, size: int) -> tuple[Tensor, Tensor]:
        """Ordinary training data from the training split, all tasks together: batch number `batch` of `size`
        examples. Labels of images are class numbers below `pooled_classes`. Pure in (seed, batch)."""
        ...

    @property
    def pooled_classes(self) -> int:
        """Classes that `pooled_batch` draws from; 0 for regression."""
        ...
