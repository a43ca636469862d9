"""Tests of error messages about tables that cannot be used.

Each message is one sentence that names the file, the line and the column, and says what is allowed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from metatui.cli.main import main
from metatui.learning.data.table import reader
from tests.learning.data.table.tables import few_tasks, table_text

Sets = dict[str, str]
GOOD = few_tasks(6)


def nothing(path: Path) -> None:
    """Create no file at `path`."""


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def rows(*lines: str, header: str = "task,x,y") -> Callable[[Path], object]:
    """Return a function that writes a table in which the rows `lines` lie between valid rows."""
    return content(table_text([*GOOD, *lines, *GOOD], header))


good = rows()
LATER = len(GOOD) + 2
"""Line number, in the file, of the first row that is passed to the function `rows`."""

BAD: dict[str, tuple[Callable[[Path], object], Sets, str]] = {
    "no file name": (good, {"table.file": ""}, "table.file is '', but must be the path of a CSV or Parquet file if"),
    "relative name": (good, {"table.file": "~nobody-of-this-name/a.csv"}, "the path of a file"),
    "missing file": (nothing, {}, "FILE: there is no such file"),
    "folder": (folder, {}, "FILE is not a file"),
    "pipe": (pipe, {}, "FILE is not a file"),
    "empty file": (content(b""), {}, "FILE is empty, but must be a CSV file with a line of column names"),
    "blank file": (content(b" \n\n"), {}, "FILE is empty, but must be a CSV file with a line of column names"),
    "only a header": (content(b"task,x,y\n"), {}, "FILE has column names but no rows"),
    "no columns named": (
        good, {"table.targets": ""}, "table.targets is '', but must be one or more column names if"
    ),
    "missing task column": (
        good, {"table.task_column": "plant"}, "table.task_column is 'plant', but must be a column of FILE: task, x, y"
    ),
    "missing target": (good, {"table.targets": "y,z"}, "table.targets is 'z', but must be a column of FILE: task, x"),
    "missing input": (good, {"table.inputs": "X"}, "table.inputs is 'X', but must be a column of FILE: task, x, y"),
    "missing split column": (good, {"table.split_column": "fold"}, "table.split_column is 'fold', but must be a"),
    "column used twice": (
        good, {"table.inputs": "x,y"}, "table.targets is 'y', but must be another column, because this one is used"
    ),
    "no other columns": (
        good, {"table.targets": "x,y"}, "table.inputs is '', but must name columns, because FILE has no other numeric"
    ),
    "duplicate columns": (
        rows(header="task,y,y"), {}, "FILE has 2 columns called 'y', but column names must be unique"
    ),
    "text in a row": (rows("a,1,many"), {}, f"FILE, line {LATER}: column 'y' is 'many', but must be a number"),
    "text in all rows": (
        rows("a,1,2"), {"table.targets": "task", "table.task_column": "x"},
        "FILE, line 2: column 'task' is 't0', but must be a number",
    ),
    "decimal comma": (
        content(b"task;x;y\na;1,5;2\n"), {"table.inputs": "x"},
        "FILE, line 2: column 'x' is '1,5', but must be a number, with a decimal point",
    ),
    "empty number": (rows("", "a,,2"), {}, f"FILE, line {LATER + 1}: column 'x' is empty, but must be a number"),
    "nan": (
        rows("a,1,nan"), {},
        f"FILE, line {LATER}: column 'y' is nan, but must be a number from -1e+30 to 1e+30; remove rows with missing",
    ),
    "infinity": (rows("a,-inf,1"), {}, f"FILE, line {LATER}: column 'x' is -inf, but must be a number from -1e+30"),
    "too large a number": (rows("a,1,1e31"), {}, f"FILE, line {LATER}: column 'y' is 1e+31, but must be a number from"),
    "short row": (rows("a,1"), {}, f"FILE, line {LATER}: the row has 2 values, but the header names 3 columns"),
    "long row": (rows("a,1,2,3"), {}, f"FILE, line {LATER}: the row has 4 values, but the header names 3 columns"),
    "no task name": (rows(" ,1,2"), {}, f"FILE, line {LATER}: column 'task' is empty, but must name the task"),
    "one task": (
        content(table_text(few_tasks(1))), {},
        "FILE has 1 task in column 'task', but must have at least 3, to train, validate and test on different tasks",
    ),
    "wrong encoding": (
        content(table_text(["Länge,1,2"]).decode().encode("latin-1")), {},
        "FILE, line 2 is not UTF-8 text: save the file as UTF-8",
    ),
    "utf-16": (content("task,x,y\na,1,2\n".encode("utf-16")), {}, "FILE is not UTF-8 text, but must be a CSV file"),
    "spreadsheet": (content(b"PK\x03\x04\x00\x00"), {}, "FILE is not UTF-8 text, but must be a CSV file in UTF-8 or a"),
    "huge field": (
        rows("a" * 200_000 + ",1,2"), {},
        f"FILE, line {LATER} is not valid CSV: a value must have at most 131,072 characters; is a quotation mark",
    ),
    "open quotation mark": (rows('"a,1,2'), {}, "is not valid CSV: unexpected end of data"),
    "text after a quotation mark": (rows('"a"b,1,2'), {}, f"FILE, line {LATER} is not valid CSV: ',' expected after"),
    "old line ends": (content(b"task,x,y\ra,1,2\r"), {}, "FILE, line 1 is not valid CSV: new-line character seen in"),
    "unknown split": (
        content(table_text(["a,1,2,training"], "task,x,y,fold")), {"table.split_column": "fold"},
        "FILE, line 2: column 'fold' is 'training', but must be one of train, val, test",
    ),
    "task in two splits": (
        content(table_text(["a,1,2,train", "b,1,2,val", "a,1,2,test"], "task,x,y,fold")),
        {"table.split_column": "fold"},
        "FILE, line 4: column 'fold' is 'test', but line 2 has 'train' for the same task; all rows of a task must be",
    ),
    "no test tasks": (
        content(table_text(["a,1,2,train", "b,1,2,train"], "task,x,y,fold")), {"table.split_column": "fold"},
        "FILE has no task for the split test: column 'fold' must contain train, val and test",
    ),
    "too few rows": (
        good, {"task.shots": "7", "task.queries": "2"},
        "task.shots is 7 and task.queries is 2, but their sum must be at most 8, the largest number of rows of a train",
    ),
    "too many evaluation shots": (
        good, {"evaluation.shots": "7"},
        "evaluation.shots is 7 and task.queries is 2, but their sum must be at most 8, the largest number of rows of a",
    ),
    "too large a range of shots": (
        good, {"task.shots_range": "1-7"},
        "the upper end of task.shots_range is 7 and task.queries is 2, but their sum must be at most 8, the largest",
    ),
    "shares of splits": (
        good, {"table.val_fraction": "0.5", "table.test_fraction": "0.5"},
        "table.val_fraction is 0.5, but must be at most 0.9 together with table.test_fraction",
    ),
    "parquet without content": (content(b"PAR1"), {}, "FILE is "),
}  # fmt: skip


@pytest.mark.parametrize(("build", "sets", "message"), BAD.values(), ids=BAD)
def test_bad_table_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], build: Callable[[Path], object], sets: Sets, message: str
) -> None:
    path = tmp_path / "table.csv"
    build(path)
    settings = {
        "task.source": "table", "table.file": str(path), "table.targets": "y", "task.shots": "2", "task.queries": "2",
        "compute.device": "cpu", **sets,
    }  # fmt: skip
    arguments = [word for field, value in settings.items() for word in ("--set", f"{field}={value}")]
    assert main(["run", *arguments, "--runs-dir", str(tmp_path / "runs")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (sentence,) = err.splitlines()
    assert sentence.startswith("metatui: ")
    assert sentence.isprintable()
    assert message.replace("FILE", f"'{path}'") in sentence
    assert not list(tmp_path.glob("runs/*"))


def test_too_large_tables_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MAX_VALUES", 10)
    good(tmp_path / "table.csv")
    sets = ["--set", "task.source=table", "--set", f"table.file={tmp_path / 'table.csv'}", "--set", "table.targets=y"]
    assert main(["run", *sets, "--runs-dir", str(tmp_path / "runs")]) == 2
    assert "has more input and target values than the maximum of 10" in capsys.readouterr().err
