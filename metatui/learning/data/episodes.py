"""Episodes, and the interface of a source of tasks.

Shapes use T for the number of tasks (episodes) in a batch, N for ways, K for shots and Q for queries.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metatui.config.registry import Kind
from metatui.config.settings import Settings
from metatui.events import Pool
from metatui.learning.data import random
from metatui.learning.data.schema import DataSchema
from metatui.learning.hardware.devices import to_device
from metatui.utils.errors import BadInput

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Episodes:
    """A batch of tasks. The leading axis of every tensor is the task.

    Images are ordered by class: the support images of class n are in rows n*K to n*K + K - 1.
    """

    support_x: Tensor
    """Inputs of the support sets: [T, K, inputs] for regression, or images [T, N*K, C, H, W] from 0 to 1."""
    support_y: Tensor
    """Targets of the support sets: [T, K, targets] for regression, or labels [T, N*K] (int64, from 0 to N-1)."""
    query_x: Tensor
    """Inputs of the query sets: [T, Q, inputs] for regression, or images [T, N*Q, C, H, W]."""
    query_y: Tensor
    """Targets of the query sets: [T, Q, targets] for regression, or labels [T, N*Q] for images."""

    def __len__(self) -> int:
        return self.support_x.shape[0]

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Episodes:
        """Move all tensors to `device`, and convert floating-point tensors to `dtype`."""

        def converted(t: Tensor) -> Tensor:
            return to_device(t, torch.device(device), dtype if t.is_floating_point() else None)

        return Episodes(*map(converted, self.tensors()))

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return `support_x`, `support_y`, `query_x` and `query_y`."""
        return self.support_x, self.support_y, self.query_x, self.query_y

    def with_queries(self, queries: int, ways: int) -> Episodes:
        """Return the same image tasks with at most the first `queries` query images of each class."""

        def first(t: Tensor) -> Tensor:
            return torch.unflatten(t, 1, (ways, -1))[:, :, :queries].flatten(1, 2)

        return Episodes(self.support_x, self.support_y, first(self.query_x), first(self.query_y))

    def chunk(self, start: int, stop: int) -> Episodes:
        """Return tasks `start` to `stop - 1`."""
        return Episodes(*(t.narrow(0, start, stop - start) for t in self.tensors()))


class TaskSource(ABC):
    """A source of tasks. Task i of a split is a pure function of (seed, split, i), the same on every device."""

    kind: Kind
    input_shape: tuple[int, ...]
    """Shape of the inputs of one example: (inputs,) for regression, (C, H, W) for an image."""
    targets: int = 1
    """Number of target values of each example in a regression task."""
    fingerprint: str = ""
    """Digest of the data that determine the tasks; empty if the data never change."""
    former_fingerprints: tuple[str, ...] = ()
    """Fingerprints that earlier versions of metatui computed for the same data."""
    notices: tuple[str, ...] = ()
    """Messages to the user about the data, for example about files that are left out."""
    notes: tuple[str, ...] = ()
    """Messages about the data, for the journal of a run. Unlike `notices`, they are not warnings."""

    @abstractmethod
    def episodes(
        self, split: Split, tasks: Sequence[int], *, seed: int, ways: int, shots: int, queries: int
    ) -> Episodes:
        """Return the episodes of the tasks numbered `tasks`, in this order, in float32 on the source's device.

        Args:
            tasks: task numbers, starting at 0.
            ways: ignored for regression.

        Raises:
            BadInput: if there are too few classes, or too few images of a class.
        """

    @abstractmethod
    def describe(self, split: Split, task: int, *, seed: int, ways: int) -> str:
        """Return the name of a task for display, such as its amplitude and phase, or its classes."""

    @abstractmethod
    def pooled_batch(self, batch: int, *, seed: int, size: int) -> tuple[Tensor, Tensor]:
        """Return a batch for ordinary (not episodic) training: `size` examples from all training tasks together.

        The label of an image is the index of its class, less than `pooled_classes`. The examples are a pure function of
        (seed, batch).
        """

    def pool(self, split: Split, ways: int) -> Pool | None:
        """Return what the tasks of `split` are drawn from; None if the number of different tasks is not limited.

        Args:
            ways: ignored for regression.
        """
        return None

    @property
    def pooled_classes(self) -> int:
        """Number of classes that `pooled_batch` draws from; 0 for regression."""
        return 0

    @property
    def schema(self) -> DataSchema:
        """Description of the data set, for use with a saved model."""
        return DataSchema(self.kind, self.input_shape, self.targets, self.pooled_classes)


class SchemaSource(TaskSource):
    """The data set of a saved model. Only its schema is known; it has no examples."""

    def __init__(self, schema: DataSchema) -> None:
        self._schema = schema
        self.kind, self.input_shape, self.targets = schema.kind, schema.input_shape, schema.targets

    def episodes(
        self, split: Split, tasks: Sequence[int], *, seed: int, ways: int, shots: int, queries: int
    ) -> Episodes:
        raise BadInput(_NO_EXAMPLES)

    def describe(self, split: Split, task: int, *, seed: int, ways: int) -> str:
        raise BadInput(_NO_EXAMPLES)

    def pooled_batch(self, batch: int, *, seed: int, size: int) -> tuple[Tensor, Tensor]:
        raise BadInput(_NO_EXAMPLES)

    @property
    def pooled_classes(self) -> int:
        return self._schema.pooled_classes

    @property
    def schema(self) -> DataSchema:
        return self._schema


_NO_EXAMPLES = "the data set of a saved model has no examples"


def training_size(settings: Settings, first_task: int) -> tuple[int, int]:
    """Return the ways and shots of the training meta-batch whose first task has the number `first_task`.

    All tasks of a meta-batch have the same size, so their tensors can be stacked.
    """
    key = random.keys(settings.training.seed, "episodes/size", torch.tensor(first_task))
    ranges = settings.ways_in_training, settings.shots_in_training
    ways, shots = (
        low + int(chance * (high - low + 1))
        for (low, high), chance in zip(ranges, random.uniform(key, 2).tolist(), strict=True)
    )
    return ways, shots
