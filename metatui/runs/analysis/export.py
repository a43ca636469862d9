"""A run's numbers as CSV: one row a meta-step, or one a validation, under the names that its own files have."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, fields
from typing import Any, TextIO

from metatui.events import Progress
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import MetatuiError, quote
from metatui.utils.text import sanitize

VALIDATION = (
    "iteration", "split", "tasks", "shots", "batch_norm", "inner_step", "loss", "loss_ci95", "accuracy",
    "accuracy_ci95", "best", "inner_lr", "diverged",
)  # fmt: skip
"""What the journal says of a validation."""

Row = Sequence[Any]


def metrics_rows(run: RunFolder) -> Iterator[Row]:
    """The names of the metrics, then what each meta-step measured: nan where a number was not finite, None where there
    is none.

    Raises:
        MetatuiError: the run was resumed meanwhile, so that what was yielded no longer holds.
    """
    yield [field.name for field in fields(Progress)]
    reader = run.metrics()
    while new := reader.read_new():
        if reader.restarted:
            raise MetatuiError(f"run {quote(run.id)} was resumed while it was exported: export it again")
        yield from map(astuple, new)


def validation_rows(run: RunFolder) -> Iterator[Row]:
    """`VALIDATION`, then the validations that still hold: the metric after the last inner step and its protocol."""
    yield VALIDATION
    for entry in run.validations():
        details = (entry.details.get(name) for name in VALIDATION[1:])
        yield [entry.iteration, *(sanitize(each) if isinstance(each, str) else each for each in details)]


def write_csv(rows: Iterable[Row], file: TextIO) -> int:
    """Writes `rows` as they come; returns how many there were. None is an empty field."""
    writer = csv.writer(file, lineterminator="\n")
    count = 0
    for row in rows:
        writer.writerow(row)
        count += 1
    return count
