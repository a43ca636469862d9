"""Tests of reading tables: CSV and Parquet formats, selection of columns, and size limits."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from metatui.learning.data.sources.table import TableOptions
from metatui.learning.data.table import reader
from metatui.learning.data.table.reader import read_columns, read_table
from metatui.utils.errors import BadInput


def options(path: Path, **changes: str) -> TableOptions:
    return TableOptions.model_validate({"file": str(path), "targets": "y", **changes})


ROWS = {
    "comma": b"task,x,y\na,1,2\nb,3,4\na,5,6\n",
    "semicolon": b"task;x;y\na;1;2\nb;3;4\na;5;6\n",
    "tab": b"task\tx\ty\na\t1\t2\nb\t3\t4\na\t5\t6\n",
    "byte order mark": b"\xef\xbb\xbftask,x,y\na,1,2\nb,3,4\na,5,6\n",
    "windows": b"task,x,y\r\na,1,2\r\nb,3,4\r\na,5,6\r\n",
    "spaces and blank lines": b"task, x ,y\n a ,1 , 2\n\nb,3,4\n,,\na,5,6\n\n",
    "quotes": b'"task","x","y"\n"a",1,"2"\nb,3,4\na,5,6',
    "index and text columns": b",task,x,note,y\n0,a,1,good,2\n1,b,3,,4\n2,a,5,bad,6\n",
    "exponents": b"task,x,y\na,1e0,2.0\nb,+3,.4e1\na,5,6\n",
}


@pytest.mark.parametrize("data", ROWS.values(), ids=ROWS)
def test_csv_formats(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(data)
    table = read_table(options(path))
    assert (table.inputs, table.targets, table.tasks) == (("x",), ("y",), ("a", "b"))
    assert table.counts.tolist() == [2, 1]
    assert table.x.tolist() == [[1], [5], [3]]
    assert table.y.tolist() == [[2], [6], [4]]
    assert table.splits is None


@pytest.mark.parametrize(
    ("inputs", "targets", "expected"),
    [
        ("", "y", (("a", "b", "c, d"), ("y",))),
        ("a", "", (("a",), ("b", "c, d", "y"))),
        ("b, a", "y", (("b", "a"), ("y",))),
        ('"c, d"', "y,a", (("c, d",), ("y", "a"))),
    ],
)
def test_choice_of_columns(
    tmp_path: Path, inputs: str, targets: str, expected: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    path = tmp_path / "table.csv"
    path.write_text('who,a,b,"c, d",y,note\n1,2,3,4,5,six\n')
    table = read_table(options(path, task_column="who", inputs=inputs, targets=targets))
    assert (table.inputs, table.targets) == expected
    row = dict(zip(["who", "a", "b", "d", "y"], range(1, 6), strict=True))
    assert [*table.x[0], *table.y[0]] == [row[name.split()[-1]] for name in (*table.inputs, *table.targets)]


def test_split_column(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("task,fold,x,y\na,test,1,2\nb,train,3,4\na,test,5,6\nc,val,7,8\n")
    table = read_table(options(path, split_column="fold"))
    assert table.splits == ("test", "train", "val")


@pytest.mark.parametrize(("columns", "expected"), [(["x"], [[1], [3], [5]]), (["y", "x"], [[2, 1], [4, 3], [6, 5]])])
@pytest.mark.parametrize("data", ROWS.values(), ids=ROWS)
def test_named_columns_in_the_order_of_the_file(
    tmp_path: Path, data: bytes, columns: list[str], expected: list[list[float]]
) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(data)
    assert read_columns(path, columns).tolist() == expected


def test_named_columns_of_a_parquet_file(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "table.parquet", {"x": [1, 3], "note": ["a", "b"]})
    assert read_columns(path, ["x"]).tolist() == [[1], [3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,note\n1,a\n", "has the columns x, note, but must have the columns x, y"),
        ("x,y,x\n1,2,3\n", "has 2 columns called 'x', but column names must be unique"),
        ("x,y\n1,\n", "line 2: column 'y' is empty, but must be a number"),
        ("x,y\n1,inf\n", "line 2: column 'y' is inf, but must be a number from -1e\\+30 to 1e\\+30"),
        ("x,y\n", "has column names but no rows"),
        ("", "is empty, but must be a CSV file with a line of column names, or a Parquet file"),
    ],
)
def test_refused_columns(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        read_columns(path, ["x", "y"])


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(ROWS["comma"])
    monkeypatch.setattr(reader, "MAX_VALUES", 5)
    with pytest.raises(BadInput, match="has more input and target values than the maximum of 5"):
        read_table(options(path))
    monkeypatch.setattr(reader, "MAX_COLUMNS", 2)
    with pytest.raises(BadInput, match="has 3 columns, but at most 2 are allowed"):
        read_table(options(path))
    monkeypatch.setattr(reader, "MAX_BYTES", 10)
    with pytest.raises(BadInput, match="is too large: at most 10 bytes are read"):
        read_table(options(path))


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.data"
    path.write_bytes(b"PAR1 and more")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadInput, match=r"is a Parquet file, which needs pyarrow: pip install 'metatui\[parquet\]'$"):
        read_table(options(path))


def write_parquet(path: Path, columns: dict[str, object]) -> Path:
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pa.table(columns), path)
    return path


def test_parquet_equals_csv(tmp_path: Path) -> None:
    text = tmp_path / "table.csv"
    text.write_bytes(b"task,x,fold,y\n1,1,train,2\n2,3,val,4\n1,5,train,6.5\n")
    binary = write_parquet(
        tmp_path / "table.parquet",
        {"task": [1, 2, 1], "x": [1, 3, 5], "fold": ["train", "val", "train"], "y": np.array([2, 4, 6.5], np.float32)},
    )
    a, b = (read_table(options(path, split_column="fold")) for path in (text, binary))
    assert (a.inputs, a.targets, a.tasks, a.splits) == (b.inputs, b.targets, b.tasks, b.splits)
    for name in ("counts", "x", "y"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"task": ["a"], "x": [1]}, "table.targets is 'y', but must be a column of '.*': task, x"),
        ({"task": ["a"], "x": [1], "y": ["2"]}, "column 'y' has the type string, but must contain numbers"),
        ({"task": ["a", "b"], "x": [1, 2], "y": [1.0, None]}, "row 2: column 'y' is nan, but must be a number from"),
        ({"task": ["a", None], "x": [1, 2], "y": [1, 2]}, "row 2: column 'task' is empty, but must name the task"),
        ({"task": [], "x": np.zeros(0), "y": np.zeros(0)}, "has column names but no rows"),
    ],
)
def test_bad_parquet(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    path = write_parquet(tmp_path / "table.parquet", columns)
    with pytest.raises(BadInput, match=message):
        read_table(options(path))


def test_damaged_parquet(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "table.parquet", {"task": ["a"] * 50, "x": range(50), "y": range(50)})
    whole = path.read_bytes()
    for end in (8, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:end])
        with pytest.raises(BadInput, match="is not a valid Parquet file: "):
            read_table(options(path))
