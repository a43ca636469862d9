"""Reading of tables: CSV or Parquet files with a task column, input columns and target columns.

The first line of a CSV file has the names of the columns. Values are separated by commas, semicolons or tabs. A column
is numeric if it has a number in the first row. A column without a name, such as the index that pandas writes, is never
used.
"""

from __future__ import annotations

import csv
import io
import itertools
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metatui.learning.data.episodes import SPLITS, Split
from metatui.utils.errors import BadInput, Problem, SettingsError, class_and_message, quote
from metatui.utils.files import read_bounded
from metatui.utils.text import format_count

if TYPE_CHECKING:
    from metatui.learning.data.sources.table import TableOptions

MAX_BYTES = 256 * 1024 * 1024
"""Maximum size of a table file, in bytes."""
MAX_VALUES = 20_000_000
"""Maximum number of input and target values in a table. Each value takes eight bytes of memory."""
MAX_COLUMNS = 10_000
MAX_MAGNITUDE = 1e30
"""Largest allowed magnitude of a value. The limit keeps sums of squares from overflowing."""

_BATCH = 65_536
"""Number of rows of a Parquet file that are decoded together."""


@dataclass(frozen=True)
class TableData:
    """The rows of a table, grouped by task.

    Tasks are sorted by name, and the rows of a task are in the order of the file.
    """

    path: Path
    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    tasks: tuple[str, ...]
    counts: NDArray[np.int64]
    """Number of rows of each task."""
    x: NDArray[np.float64]
    """Input values, [rows, inputs]."""
    y: NDArray[np.float64]
    """Target values, [rows, targets]."""
    splits: tuple[Split, ...] | None
    """Split of each task; None if the table has no split column."""
    ignored: tuple[str, ...] = ()
    """Columns of the file that have a name but are not used."""

    @property
    def name(self) -> str:
        """The path of the file, quoted for messages."""
        return quote(str(self.path), 200)


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are used."""

    task: str
    """Name of the task column; empty if all rows belong to one task."""
    split: str
    """Name of the split column; empty if there is none."""
    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    ignored: tuple[str, ...]
    """Columns that have a name but are not used."""

    @property
    def numeric(self) -> tuple[str, ...]:
        return (*self.inputs, *self.targets)

    @property
    def text(self) -> tuple[str, ...]:
        return tuple(name for name in (self.task, self.split) if name)


ChooseColumns = Callable[[Sequence[str], Callable[[str], bool]], Columns]
"""Function that chooses columns.

Its arguments are the names of the columns in a file, and a function that returns whether a column contains numbers.
"""


@dataclass(frozen=True)
class _Rows:
    """The values of the columns that are used. Rows are in the order of the file."""

    columns: Columns
    values: NDArray[np.float64]
    """Input and target values, [rows, inputs + targets]."""
    texts: Mapping[str, Sequence[str]]
    """Values of the task column and of the split column as strings, keyed by the name of the column."""
    place: Callable[[int], str]
    """Function that returns the position of a row in the file, such as `line 7`, for use in messages."""


def read_table(options: TableOptions) -> TableData:
    """Read the table from the file selected by `options`.

    Raises:
        BadInput: if the file cannot be read, is not a table, or contains a value that is not allowed. The message names
            the file and, for an invalid value, also the line and the column.
    """
    path = Path(options.file)
    name = quote(str(path), 200)
    rows = _read(path, lambda named, numeric: _choose_columns(name, named, options, numeric))
    return _grouped(path, name, rows)


def read_columns(path: Path, columns: Sequence[str]) -> NDArray[np.float64]:
    """Read the numeric `columns` of a CSV or Parquet file, whose rows all belong to one task.

    Returns:
        The values [rows, columns], with the rows in the order of the file.

    Raises:
        BadInput: as in `read_table`, or if the file lacks one of the columns.
    """

    def choose(named: Sequence[str], numeric: Callable[[str], bool]) -> Columns:
        for column in columns:
            if column not in named:
                needed, present = (quote(", ".join(names), 200)[1:-1] for names in (columns, named))
                what = "the column" if len(columns) == 1 else "the columns"
                raise BadInput(f"{quote(str(path), 200)} has the columns {present}, but must have {what} {needed}")
        return Columns(task="", split="", inputs=tuple(columns), targets=(), ignored=())

    return _read(path, choose).values


def _read(path: Path, choose: ChooseColumns) -> _Rows:
    name = quote(str(path), 200)
    data = read_bounded(path, MAX_BYTES)
    if not data or data.isspace():
        raise BadInput(f"{name} is empty, but must be a CSV file with a line of column names, or a Parquet file")
    if data.startswith(b"PAR1") or path.suffix.lower() in (".parquet", ".pq"):
        rows = _read_parquet(data, name, choose)
    else:
        rows = _read_csv(data, name, choose)
    _check_numbers(rows, name)
    return rows


def _grouped(path: Path, name: str, rows: _Rows) -> TableData:
    texts = rows.texts[rows.columns.task]
    numbers = {task: number for number, task in enumerate(sorted(set(texts)))}
    task_of = np.array([numbers[task] for task in texts], np.int64)
    if "" in numbers:
        row = int(np.argmax(task_of == numbers[""]))
        raise BadInput(f"{name}, {rows.place(row)}: column {quote(rows.columns.task)} is empty, but must name the task")
    values = rows.values[np.argsort(task_of, kind="stable")]
    inputs = len(rows.columns.inputs)
    return TableData(
        path=path,
        inputs=rows.columns.inputs,
        targets=rows.columns.targets,
        tasks=tuple(numbers),
        counts=np.bincount(task_of),
        x=values[:, :inputs],
        y=values[:, inputs:],
        splits=_splits(name, rows, task_of) if rows.columns.split else None,
        ignored=rows.columns.ignored,
    )


def _splits(name: str, rows: _Rows, task_of: NDArray[np.int64]) -> tuple[Split, ...]:
    """Return the split of each task. Raises BadInput if a split is invalid, or if a task has rows in two splits."""
    column = quote(rows.columns.split)
    first: dict[int, tuple[int, str]] = {}
    for row, (task, text) in enumerate(zip(task_of.tolist(), rows.texts[rows.columns.split], strict=True)):
        if text not in SPLITS:
            raise BadInput(
                f"{name}, {rows.place(row)}: column {column} is {quote(text)}, but must be one of {', '.join(SPLITS)}"
            )
        before, split = first.setdefault(task, (row, text))
        if split != text:
            raise BadInput(
                f"{name}, {rows.place(row)}: column {column} is {quote(text)}, but {rows.place(before)} has "
                f"{quote(split)} for the same task; all rows of a task must be in one split"
            )
    of_name: dict[str, Split] = {split: split for split in SPLITS}
    return tuple(of_name[first[task][1]] for task in sorted(first))


def _check_numbers(rows: _Rows, name: str) -> None:
    """Raise BadInput if a value is too large or not finite."""
    good = np.abs(rows.values) <= MAX_MAGNITUDE
    if good.all():
        return
    row, column = map(int, np.unravel_index(np.argmin(good), good.shape))
    value = float(rows.values[row, column])
    allowed = f"must be a number from {-MAX_MAGNITUDE:g} to {MAX_MAGNITUDE:g}"
    missing = "; remove rows with missing values" if np.isnan(value) else ""
    raise BadInput(
        f"{name}, {rows.place(row)}: column {quote(rows.columns.numeric[column])} is {value:g}, but {allowed}{missing}"
    )


def _named(name: str, header: Sequence[str]) -> list[str]:
    """Return the columns that have a name. Raises BadInput if a name occurs twice."""
    named = [column for column in header if column]
    column, count = Counter(named).most_common(1)[0] if named else ("", 0)
    if count > 1:
        raise BadInput(f"{name} has {count} columns called {quote(column)}, but column names must be unique")
    return named


def _choose_columns(name: str, named: Sequence[str], options: TableOptions, numeric: Callable[[str], bool]) -> Columns:
    """Return the columns selected by `options`.

    Args:
        named: names of the columns of the file.
        numeric: function that returns whether a column contains numbers.

    Raises:
        BadInput: if a name is missing from the file, or if a column is used twice.
    """
    used: dict[str, str] = {}

    def use(field: str, column: str) -> str:
        if column not in named:
            columns = quote(", ".join(named), 200)[1:-1]
            raise _problem(field, column, f"must be a column of {name}: {columns}")
        if column in used:
            raise _problem(field, column, f"must be another column, because this one is used in {used[column]}")
        used[column] = field
        return column

    task = use("table.task_column", options.task_column)
    split = use("table.split_column", options.split_column) if options.split_column else ""
    chosen = {
        field: tuple(use(field, column) for column in split_names(text))
        for field, text in (("table.inputs", options.inputs), ("table.targets", options.targets))
    }
    rest = tuple(column for column in named if column not in used and numeric(column))
    for field, columns in chosen.items():
        if not columns and not rest:
            raise _problem(field, "", f"must name columns, because {name} has no other numeric columns")
    inputs, targets = chosen["table.inputs"] or rest, chosen["table.targets"] or rest
    ignored = tuple(column for column in named if column not in {task, split, *inputs, *targets})
    return Columns(task, split, inputs, targets, ignored)


def split_names(text: str) -> list[str]:
    """Split comma-separated column names; a name that contains a comma is in double quotes."""
    return [name.strip() for row in csv.reader([text], skipinitialspace=True) for name in row if name.strip()]


def _problem(field: str, value: str, requirement: str) -> SettingsError:
    return SettingsError([Problem(field, f"{field} is {quote(value)}, but {requirement}")])


# CSV


def _read_csv(data: bytes, name: str, choose: ChooseColumns) -> _Rows:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:4096]:
        raise BadInput(f"{name} is not UTF-8 text, but must be a CSV file in UTF-8 or a Parquet file")
    start = data[:65_536].split(b"\n", 1)[0]
    delimiter = max(",;\t", key=lambda mark: start.count(mark.encode()))
    reader = csv.reader(_lines(data, name), delimiter=delimiter, strict=True)
    records = _records(reader, name)
    header = [cell.strip() for cell in next(records, [])]
    if len(header) > MAX_COLUMNS:
        raise BadInput(f"{name} has {len(header):,} columns, but at most {MAX_COLUMNS:,} are allowed")
    first = next(records, [])
    if not first:
        raise BadInput(_no_rows(name))
    cells = dict(zip(header, first, strict=False))
    columns = choose(_named(name, header), lambda column: _is_number(cells.get(column, "")))
    places = [header.index(column) for column in columns.numeric]
    text_places = [header.index(column) for column in columns.text]
    values, lines = array("d"), array("q")
    texts: list[list[str]] = [[] for _ in text_places]
    # itemgetter is faster than a list comprehension, but returns no tuple for a single place.
    numbers = itemgetter(*places) if len(places) > 1 else lambda row: [row[place] for place in places]
    for row in itertools.chain([first], records):
        try:
            values.extend(map(float, numbers(row)))
            for place, column_texts in zip(text_places, texts, strict=True):
                column_texts.append(sys.intern(row[place].strip()))  # the rows of a task share one string
        except (ValueError, IndexError):
            raise BadInput(f"{name}, line {reader.line_num:,}: {_row_problem(row, header, places)}") from None
        if len(row) != len(header):
            raise BadInput(f"{name}, line {reader.line_num:,}: {_row_problem(row, header, places)}")
        if len(values) > MAX_VALUES:
            raise BadInput(_too_many(name))
        lines.append(reader.line_num)
    return _Rows(
        columns=columns,
        values=np.frombuffer(values, np.float64).reshape(-1, len(places)),
        texts=dict(zip(columns.text, texts, strict=True)),
        place=lambda row: f"line {lines[row]:,}",
    )


def _row_problem(row: Sequence[str], header: Sequence[str], places: Sequence[int]) -> str:
    """Return a description of the error in an invalid row. The columns at the indices `places` must contain numbers."""
    if len(row) != len(header):
        return f"the row has {format_count(len(row), 'value')}, but the header names {len(header):,} columns"
    place = next(place for place in places if not _is_number(row[place]))
    value = quote(row[place]) if row[place].strip() else "empty"
    hint = ", with a decimal point" if "," in row[place] else ""
    return f"column {quote(header[place])} is {value}, but must be a number{hint}"


def _lines(data: bytes, name: str) -> Iterator[str]:
    """Yield the lines of a CSV file, without a byte-order mark."""
    for number, line in enumerate(io.BytesIO(data), 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise BadInput(f"{name}, line {number:,} is not UTF-8 text: save the file as UTF-8") from None


def _records(reader: Any, name: str) -> Iterator[list[str]]:
    """Yield the records of a CSV file, without blank ones."""
    while True:
        try:
            row: list[str] = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            limit = f"a value must have at most {csv.field_size_limit():,} characters; is a quotation mark missing?"
            cause = limit if "field limit" in str(error) else quote(str(error).split(" - ")[0], 120)[1:-1]
            raise BadInput(f"{name}, line {reader.line_num:,} is not valid CSV: {cause}") from None
        if any(row):
            yield row


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _no_rows(name: str) -> str:
    return f"{name} has column names but no rows"


def _too_many(name: str) -> str:
    return f"{name} has more input and target values than the maximum of {MAX_VALUES:,}"


# Parquet


def _read_parquet(data: bytes, name: str, choose: ChooseColumns) -> _Rows:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise BadInput(f"{name} is a Parquet file, which needs pyarrow: pip install 'metatui[parquet]'") from None

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        schema = file.schema_arrow

        def numeric(column: str) -> bool:
            kind = schema.field(column).type
            return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))

        columns = choose(_named(name, schema.names), numeric)
        for column in columns.numeric:
            if not numeric(column):
                raise BadInput(
                    f"{name}: column {quote(column)} has the type {schema.field(column).type}, but must contain numbers"
                )
        if not file.metadata.num_rows:
            raise BadInput(_no_rows(name))
        if file.metadata.num_rows * len(columns.numeric) > MAX_VALUES:
            raise BadInput(_too_many(name))
        parts, texts = [], {column: list[str]() for column in columns.text}
        for batch in file.iter_batches(_BATCH, columns=[*columns.numeric, *columns.text]):
            parts.append(np.stack([_as_floats(batch.column(column)) for column in columns.numeric], axis=1))
            for column in columns.text:
                texts[column] += [
                    "" if cell is None else str(cell).strip() for cell in batch.column(column).to_pylist()
                ]
    except BadInput:
        raise
    except Exception as error:  # decoders raise many kinds of errors
        raise BadInput(
            f"{name} is not a valid Parquet file: {quote(class_and_message(error, 120), 160)[1:-1]}"
        ) from None
    return _Rows(columns, np.concatenate(parts), texts, lambda row: f"row {row + 1:,}")


def _as_floats(column: Any) -> NDArray[np.float64]:
    """Convert an Arrow array to float64, with NaN for missing values."""
    import pyarrow as pa

    values: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values
