"""Description of a data set, so that a saved model can be built, adapted and used without the data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metatui.config.registry import Kind

MAX_CLASSES = 10_000
"""Class names are listed only for splits with at most this many classes. Generated characters have more classes."""


@dataclass(frozen=True)
class Standardisation:
    """Standardisation of the columns of a table: each value becomes (value - mean) / scale."""

    columns: tuple[str, ...]
    mean: tuple[float, ...]
    """Mean of each column in the training rows."""
    scale: tuple[float, ...]
    """Standard deviation of each column in the training rows; 1 for a column with a constant value in these rows."""


@dataclass(frozen=True)
class DataSchema:
    """Description of the inputs and targets of a data set."""

    kind: Kind
    input_shape: tuple[int, ...]
    """Shape of the inputs of one example: (inputs,) for regression, (C, H, W) for an image."""
    targets: int = 1
    """Number of target values of each example in a regression task."""
    pooled_classes: int = 0
    """Number of classes in ordinary training, which does not use tasks; 0 for regression."""
    inputs: Standardisation | None = None
    """Standardisation of the input columns of a table. None for other data sets, whose inputs are not standardised."""
    outputs: Standardisation | None = None
    """Standardisation of the target columns of a table. None for other data sets."""
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of the classes of each split. Splits with more than `MAX_CLASSES` classes are omitted."""
