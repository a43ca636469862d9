"""Export of the metrics of a run as CSV, with one row for each meta-step or validation."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, fields
from typing import Any, TextIO

from metatui.events import Progress
from metatui.runs.storage.run_folder import RunFolder, lost_after
from metatui.utils.errors import BadInput, MetatuiError, quote
from metatui.utils.text import sanitize

VALIDATION_COLUMNS = (
    "iteration", "split", "tasks", "shots", "batch_norm", "inner_step", "loss", "loss_ci95", "accuracy",
    "accuracy_ci95", "best", "inner_lr", "diverged",
)  # fmt: skip
"""Columns of the CSV file of validations. The names are the same as in the journal."""

Row = Sequence[Any]


def metrics_rows(run: RunFolder) -> Iterator[Row]:
    """Yield the names of the metrics, then a row for each meta-step; missing metrics are None.

    Raises:
        BadInput: if the metrics cannot be read, or some of them are missing.
        MetatuiError: if the run is resumed or deleted during the export, because the rows yielded so far are then
            invalid or incomplete.
    """
    reader = run.metrics(whole=True)
    new = reader.read_new()
    if lost := run.lost_metrics():
        raise BadInput(f"the metrics of run {quote(run.id)} cannot be exported: it {lost}")
    yield [field.name for field in fields(Progress)]
    last = 0
    while new or reader.restarted:
        if reader.restarted:
            raise MetatuiError(
                f"run {quote(run.id)} was resumed or deleted during the export: if it still exists, export it again"
            )
        for progress in new:
            if progress.iteration > last + 1:
                raise BadInput(f"the metrics of run {quote(run.id)} cannot be exported: it {lost_after(last)}")
            last = progress.iteration
            yield astuple(progress)
        new = reader.read_new()


def validation_rows(run: RunFolder) -> Iterator[Row]:
    """Yield `VALIDATION_COLUMNS`, then a row for each validation, except those undone by resuming.

    Raises:
        BadInput: if the journal cannot be read.
    """
    yield VALIDATION_COLUMNS
    for entry in run.validations(whole=True):
        details = (entry.details.get(name) for name in VALIDATION_COLUMNS[1:])
        yield [entry.iteration, *(sanitize(value) if isinstance(value, str) else value for value in details)]


def write_csv(rows: Iterable[Row], file: TextIO) -> int:
    """Write `rows` and return their number. None is written as an empty field."""
    writer = csv.writer(file, lineterminator="\n")
    count = 0
    for row in rows:
        writer.writerow(row)
        count += 1
    return count
