"""Regression tasks made from the rows of a table.

Tasks, not rows, are split into training, validation and test. Inputs and targets are standardised by the mean and the
standard deviation of the rows of all training tasks, so losses are in standardised units.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from metatui.config.settings import Settings
from metatui.events import Pool
from metatui.learning.data.data_set import SPLIT_NAMES, shots_of_splits
from metatui.learning.data.episodes import SPLITS, Episodes, Split, TaskSource
from metatui.learning.data.image_source import permutation_prefix
from metatui.learning.data.random import choose, keys, task_numbers, uniform
from metatui.learning.data.schema import DataSchema, Standardisation
from metatui.learning.data.table.reader import TableData, read_table
from metatui.utils.errors import BadInput, Problem, SettingsError, quote
from metatui.utils.text import format_count, sanitize

if TYPE_CHECKING:
    from metatui.learning.data.sources.table import TableOptions

MAX_NAMES = 3
"""Maximum number of tasks or targets that a message lists by name."""
MAX_NAMED_COLUMNS = 8
"""Maximum number of columns of one kind that a message lists by name."""

_SHUFFLED = 2**22
"""Maximum number of row indices that are shuffled at once. They take 32 MB of memory."""

Splits = Mapping[Split, Sequence[int]]
"""Indices of the tasks of a table in each split. The splits are disjoint."""


def load_table(settings: Settings, options: TableOptions) -> TableSource:
    """Return a source of tasks from the table selected by `options`, for a run with `settings`.

    Raises:
        BadInput: if the file is missing or is not a valid table, or has too few tasks or rows for the episodes.
    """
    table = read_table(options)
    splits = split_tasks(table, options, settings.task.split_seed)
    largest = list(shots_of_splits(settings).items())  # one item if all splits use the same setting
    shots = {split: largest[0 if split == "train" else -1] for split in SPLITS}
    return TableSource(
        table,
        splits,
        shots=shots,
        queries=settings.task.queries,
    )


class TableSource(TaskSource):
    """Tasks of a table. Each episode has rows of one task, and no row is in both its support and its query set.

    Consecutive task numbers of a split go through all its tasks in random order, repeatedly, so that each task is used
    equally often, with different rows each time.
    """

    kind = "regression"

    def __init__(
        self,
        table: TableData,
        splits: Splits,
        *,
        shots: Mapping[Split, tuple[str, int]],
        queries: int,
    ) -> None:
        """Standardise the table.

        Args:
            shots: for each split, the setting that determines the number of shots, and the largest number of shots.
                Tasks with fewer rows than shots and queries together are left out.

        Raises:
            SettingsError: if a split has no task with enough rows.
        """
        self.table = table
        self.input_shape = (len(table.inputs),)
        self.targets = len(table.targets)
        self.fingerprint = _fingerprint(table, splits)
        self._count = torch.from_numpy(table.counts)
        self._first = self._count.cumsum(0) - self._count
        needed = {split: shots[split][1] + queries for split in SPLITS}
        self._tasks = {
            split: torch.tensor([n for n in splits[split] if table.counts[n] >= needed[split]], dtype=torch.int64)
            for split in SPLITS
        }
        for split in SPLITS:
            if not len(self._tasks[split]):
                raise SettingsError([_no_tasks(table, split, splits[split], *shots[split], queries)])
        training = np.isin(np.repeat(np.arange(len(table.tasks)), table.counts), splits["train"])
        self.x_mean, self.x_scale, self._x = _standardised(table.x, training)
        self.y_mean, self.y_scale, self._y = _standardised(table.y, training)
        first, count = (each[self._tasks["train"]].tolist() for each in (self._first, self._count))
        self._pool = torch.cat([torch.arange(n, n + rows) for n, rows in zip(first, count, strict=True)])
        self.notes = (self._contents(), self._units())
        self.notices = tuple(filter(None, [self._left_out(splits, needed)]))

    def episodes(
        self, split: Split, tasks: Sequence[int], *, seed: int, ways: int = 1, shots: int, queries: int
    ) -> Episodes:
        """Return one episode for each task, with `shots` support rows and `queries` query rows of the task.

        The query set does not depend on the number of shots. A smaller support set consists of the first rows of a
        larger one.
        """
        chosen = self._choose(split, tasks, seed=seed)
        counts = self._count[chosen]
        if (fewest := int(counts.min())) < shots + queries:
            name = quote(self.table.tasks[int(chosen[counts.argmin()])])
            raise BadInput(
                f"the number of shots is {shots} and task.queries is {queries}, but their sum must be at most "
                f"{fewest}, the number of rows of task {name} in {self.table.name}"
            )
        key = keys(seed, f"table/{split}/rows", task_numbers(tasks))
        chunk = max(1, _SHUFFLED // int(counts.max()))
        order = torch.cat(
            [
                permutation_prefix(part, queries + shots, among)
                for part, among in zip(torch.split(key, chunk), torch.split(counts, chunk), strict=True)
            ]
        )
        rows = self._first[chosen].unsqueeze(1) + order
        query, support = rows[:, :queries], rows[:, queries:]
        return Episodes(self._x[support], self._y[support], self._x[query], self._y[query])

    def describe(self, split: Split, task: int, *, seed: int, ways: int = 1) -> str:
        return sanitize(self.table.tasks[int(self._choose(split, [task], seed=seed))], limit=40)

    def pool(self, split: Split, ways: int = 1) -> Pool:
        return Pool(self.task_count(split), self.task_count(split))

    def pooled_batch(self, batch: int, *, seed: int, size: int) -> tuple[Tensor, Tensor]:
        """Return x and y of `size` rows of the training tasks: float32 [size, inputs] and [size, targets]."""
        numbers = torch.arange(batch * size, (batch + 1) * size)
        u = uniform(keys(seed, "table/pooled", numbers), 1).squeeze(1)
        rows = self._pool[(u * len(self._pool)).to(torch.int64)]
        return self._x[rows], self._y[rows]

    def task_count(self, split: Split) -> int:
        """Return the number of tasks that episodes of `split` are drawn from."""
        return len(self._tasks[split])

    @property
    def schema(self) -> DataSchema:
        def standardisation(columns: tuple[str, ...], mean: Tensor, scale: Tensor) -> Standardisation:
            return Standardisation(columns, tuple(mean.tolist()), tuple(scale.tolist()))

        return replace(
            super().schema,
            inputs=standardisation(self.table.inputs, self.x_mean, self.x_scale),
            outputs=standardisation(self.table.targets, self.y_mean, self.y_scale),
        )

    def inputs_in_units(self, x: Tensor) -> Tensor:
        """Convert standardised inputs [..., inputs] to the units of the columns, float64 on the CPU."""
        return x.cpu().double() * self.x_scale + self.x_mean

    def targets_in_units(self, y: Tensor) -> Tensor:
        """Convert standardised targets or predictions [..., targets] to the units of the columns."""
        return y.cpu().double() * self.y_scale + self.y_mean

    def _choose(self, split: Split, tasks: Sequence[int], *, seed: int) -> Tensor:
        """Return, for each task number in `tasks`, the index of its task in the table, int64 [T].

        In a split of n tasks, every block of n successive task numbers contains each task once.
        """
        numbers, count = task_numbers(tasks), self.task_count(split)
        blocks, block_of = torch.unique(numbers // count, return_inverse=True)
        orders = choose(keys(seed, f"table/{split}", blocks), count, count)
        return self._tasks[split][orders[block_of, numbers % count]]

    def _contents(self) -> str:
        """Return a sentence that says which columns are used, and how many tasks each split has."""
        table = self.table
        columns = {"inputs": table.inputs, "targets": table.targets, "ignored columns": table.ignored}
        parts = [f"{what}: {_listed(names)}" for what, names in columns.items() if names]
        sizes = ", ".join(f"{self.task_count(split):,} {SPLIT_NAMES[split]}" for split in SPLITS)
        return f"{table.name} has {'; '.join(parts)}; tasks: {sizes}"

    def _units(self) -> str:
        """Return a sentence that explains the unit of the losses."""
        scales = zip(self.table.targets, self.y_scale.tolist(), strict=True)
        units = ", ".join(f"{scale:.3g} for {sanitize(name, limit=40)}" for name, scale in list(scales)[:MAX_NAMES])
        more = ", …" if self.targets > MAX_NAMES else ""
        return (
            "Losses are mean squared errors of standardised targets. Each target is divided by its standard deviation "
            f"in the training rows: {units}{more}"
        )

    def _left_out(self, splits: Splits, needed: Mapping[Split, int]) -> str:
        """Describe which tasks are left out; return an empty string if all tasks are used."""
        small = [n for split in SPLITS for n in splits[split] if self.table.counts[n] < needed[split]]
        if not small:
            return ""
        examples = ", ".join(f"{quote(self.table.tasks[n])} ({self.table.counts[n]})" for n in small[:MAX_NAMES])
        more = f" and {len(small) - MAX_NAMES:,} more" if len(small) > MAX_NAMES else ""
        verb = "is left out, because it has" if len(small) == 1 else "are left out, because they have"
        return (
            f"{len(small):,} of {len(self.table.tasks):,} tasks of {self.table.name} {verb} "
            f"fewer rows than shots and queries together ({max(needed.values())}): {examples}{more}"
        )


def _listed(columns: Sequence[str]) -> str:
    """List the names of the first few columns, and say how many more there are."""
    more = len(columns) - MAX_NAMED_COLUMNS
    names = ", ".join(sanitize(name, limit=40) for name in columns[:MAX_NAMED_COLUMNS])
    return f"{names} and {more:,} more" if more > 0 else names


def split_tasks(table: TableData, options: TableOptions, seed: int) -> Splits:
    """Divide the tasks of `table` among the splits as the split column says or, without this column, at random.

    If the split column contains no validation tasks, a random part of the training tasks is used for validation. The
    random choice does not depend on the numbers of rows, so changing the shots never moves a test task into training.

    Raises:
        BadInput: if there are too few tasks for three splits.
    """
    everything = list(range(len(table.tasks)))
    if table.splits is None:
        if len(everything) < len(SPLITS):
            raise BadInput(
                f"{table.name} has {format_count(len(everything), 'task')} in column "
                f"{quote(options.task_column)}, but must have at least {len(SPLITS)}, to train, validate and test on "
                "different tasks"
            )
        test, rest = _take(everything, options.test_fraction, seed, "test", leave=2)
        share = options.val_fraction / (1 - options.test_fraction)
        val, train = _take(rest, share, seed, "val", leave=1)
    else:
        train, val, test = ([n for n in everything if table.splits[n] == split] for split in SPLITS)
        if not val and len(train) > 1:
            val, train = _take(train, options.val_fraction, seed, "val", leave=1)
    parts: dict[Split, list[int]] = {"train": train, "val": val, "test": test}
    for split, part in parts.items():
        if not part:
            column = quote(options.split_column)
            raise BadInput(
                f"{table.name} has no task for the split {split}: column {column} must contain train, val and test"
            )
    return parts


def _take(tasks: Sequence[int], share: float, seed: int, split: str, *, leave: int) -> tuple[list[int], list[int]]:
    """Divide `tasks` at random into two sorted lists, and return them.

    The first list contains the fraction `share` of the tasks, but at least one task. The second list contains the
    others, at least `leave` tasks.
    """
    count = min(max(1, round(share * len(tasks))), len(tasks) - leave)
    order = choose(keys(seed, f"table/split/{split}", torch.tensor(0)), len(tasks), len(tasks)).tolist()
    taken = {tasks[place] for place in order[:count]}
    return sorted(taken), [n for n in tasks if n not in taken]


def _standardised(values: np.ndarray, training: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Standardise columns with the mean and the standard deviation of the training rows.

    A column that is constant in the training rows is only shifted.

    Args:
        values: float64 [rows, columns].
        training: mask of the training rows.

    Returns:
        Mean and scale of each column in float64, and the standardised values in float32.
    """
    rows = values[training]
    constant = rows.min(0) == rows.max(0)
    mean = np.where(constant, rows[0], rows.mean(0))
    scale = np.where(constant, 1.0, rows.std(0))
    scale[scale == 0] = 1.0  # values that differ by so little that the squares underflow
    mean_, scale_ = torch.from_numpy(mean), torch.from_numpy(scale)
    return mean_, scale_, ((torch.from_numpy(values) - mean_) / scale_).float()


def _fingerprint(table: TableData, splits: Splits) -> str:
    """Return a digest of the columns, and of the names and rows of the tasks in each split."""
    digest = hashlib.sha256(repr((table.inputs, table.targets)).encode())
    first = np.cumsum(table.counts) - table.counts
    for split in SPLITS:
        for n in splits[split]:
            rows = slice(first[n], first[n] + table.counts[n])
            digest.update(repr((split, table.tasks[n], int(table.counts[n]))).encode())
            digest.update(np.ascontiguousarray(table.x[rows]).tobytes() + np.ascontiguousarray(table.y[rows]).tobytes())
    return f"table {digest.hexdigest()}"


def _no_tasks(table: TableData, split: Split, tasks: Sequence[int], field: str, shots: int, queries: int) -> Problem:
    most = max(table.counts[n] for n in tasks)
    setting = "the upper end of task.shots_range" if field == "task.shots_range" else field
    return Problem(
        field,
        f"{setting} is {shots} and task.queries is {queries}, but their sum must be at most {most}, the largest number "
        f"of rows of a {SPLIT_NAMES[split]} task in {table.name}",
    )
