"""Tests of `metatui predict`, which adapts the model of a run to the user's examples and predicts others."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metatui
from metatui.cli.main import main
from metatui.config.fields import change, parse
from metatui.runs.analysis.saved_model import AdaptedModel
from metatui.runs.storage.run_folder import RunFolder
from tests.folder_files import encode_image, names, pattern, write_class, write_classes
from tests.learning.data.table.tables import regressions
from tests.runs.analysis.comparisons import GLYPHS, SINUSOID, train

IMAGES = change(
    GLYPHS,
    {
        "compute.engine": "loop", "task.source": "folder", "task.folder": "/nowhere", "task.image_size": 16,
        "evaluation.tasks": 2, "evaluation.test_tasks": 2,
    },
)  # fmt: skip
QUERY = ("000.png", "001.jpeg", "002.png")
KNOWN = "x0,note,y0,y1\n101,a,500.5,490\n104.25,b,510,505\n108,c,495,500\n"
NEW = "id,x0\n7,102\n8,107.5\n"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with 3 ways on a folder of images that no longer exists."""
    folder = tmp_path_factory.mktemp("images")
    data = write_classes(folder / "data", names(20), images=3)
    run = train(folder / "runs", change(IMAGES, {"task.folder": str(data)}))
    shutil.rmtree(data)
    return run


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on a table with the input x0 and the targets y0 and y1."""
    folder = tmp_path_factory.mktemp("table")
    file = regressions(folder / "curves.csv", targets=2)
    settings = parse(
        {
            "task": {"source": "table", "shots": 5, "queries": 5},
            "table": {"file": str(file), "task_column": "plant", "targets": "y0,y1"},
            "model": {"hidden": [16]},
            "training": {"iterations": 2},
            "evaluation": {"every": 1, "tasks": 2, "test_tasks": 2, "inner_steps": 2},
            "compute": {"device": "cpu", "engine": "batched"},
        }
    )
    run = train(folder / "runs", settings)
    file.unlink()
    return run


@pytest.fixture(scope="module")
def sinusoid(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(tmp_path_factory.mktemp("sinusoid"), SINUSOID, training__iterations=1)


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write support and query examples, and make their folder the current folder."""
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "known", ["lily", "rose", "ivy"], images=2)
    write_class(tmp_path / "new", 5, images=3)
    (tmp_path / "known.csv").write_text(KNOWN)
    (tmp_path / "new.csv").write_text(NEW)


def output(capsys: pytest.CaptureFixture[str], *arguments: object, notes: str = "") -> str:
    """Run `metatui predict`, check what it prints on standard error, and return its standard output."""
    assert main(["predict", *map(str, arguments)]) == 0
    out, err = capsys.readouterr()
    assert err == notes
    return out


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ([], {}),
        (["--steps", "1", "--batch-norm", "per_example"], {"steps": 1, "batch_norm": "per_example"}),
    ],
)
def test_images_as_in_python(
    options: list[str], arguments: dict[str, Any], images: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    predicted = rows(output(capsys, images.path, "--support", "known", "--query", "new", *options))
    model = metatui.load_model(images.path)
    classes = ["ivy", "lily", "rose"]
    support = model.read_images([f"known/{name}/{file}" for name in classes for file in QUERY[:2]])
    adapted = model.adapt(support, [0, 0, 1, 1, 2, 2], **arguments)
    query = model.read_images([f"new/{name}" for name in QUERY])
    assert [row["file"] for row in predicted] == [f"new/{name}" for name in QUERY]
    assert [row["predicted"] for row in predicted] == [classes[label] for label in adapted.predict(query)]
    expected = adapted(query).softmax(1)
    for row, probabilities in zip(predicted, expected.tolist(), strict=True):
        assert [float(row[f"probability_{name}"]) for name in classes] == pytest.approx(probabilities, rel=1e-5)


def test_json(images: RunFolder, table: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    answer = json.loads(
        output(capsys, images.path, "--support", "known", "--query", "new/001.jpeg", "--query", "new", "--json")
    )
    assert answer["run"] == images.id
    assert (answer["checkpoint"], answer["steps"], answer["classes"]) == ("best", 2, ["ivy", "lily", "rose"])
    assert [item["file"] for item in answer["predictions"]] == ["new/001.jpeg", *(f"new/{name}" for name in QUERY)]
    for item in answer["predictions"]:
        probabilities = item["probabilities"]
        assert item["predicted"] == max(probabilities, key=probabilities.__getitem__)
        assert sum(probabilities.values()) == pytest.approx(1)
    answer = json.loads(output(capsys, table.path, "--support", "known.csv", "--query", "new.csv", "--json"))
    assert (answer["inputs"], answer["targets"]) == (["x0"], ["y0", "y1"])
    assert [item["inputs"] for item in answer["predictions"]] == [{"x0": 102}, {"x0": 107.5}]
    assert all(item["predicted"].keys() == {"y0", "y1"} for item in answer["predictions"])


def test_rows_of_a_table_as_in_python(table: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, table.path, "--support", "known.csv", "--query", "new.csv", "--steps", 3)
    known = np.array([[101, 500.5, 490], [104.25, 510, 505], [108, 495, 500]])
    adapted = metatui.load_model(table.path).adapt(known[:, :1], known[:, 1:], steps=3)
    expected = adapted.predict([[102.0], [107.5]])
    assert text.startswith("x0,predicted_y0,predicted_y1\n102,")
    for row, x, y in zip(rows(text), ("102", "107.5"), expected.tolist(), strict=True):
        assert row["x0"] == x
        assert [float(row["predicted_y0"]), float(row["predicted_y1"])] == pytest.approx(y, rel=1e-8)


def test_file_is_written(table: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [table.path, "--support", "known.csv", "--query", "new.csv"]
    expected = output(capsys, *command)
    assert output(capsys, *command, "--to", "out.csv") == "Wrote 2 rows to out.csv\n"
    assert (tmp_path / "out.csv").read_text() == expected
    assert main(["predict", *map(str, command), "--to", "out.csv"]) == 2
    assert "--to is 'out.csv', which already exists" in capsys.readouterr().err
    text = output(capsys, *command, "--to", "out.csv", "--force", "--json", notes="Wrote 2 rows to out.csv\n")
    assert len(json.loads(text)["predictions"]) == 2


def test_fewer_classes_with_a_range_of_ways(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_classes(tmp_path / "data", names(30), images=3)
    run = train(tmp_path / "runs", change(IMAGES, {"task.folder": str(data), "task.ways_range": "2-4"}))
    monkeypatch.setenv("METATUI_RUNS", str(tmp_path / "runs"))
    shutil.rmtree("known/rose")
    for row in rows(output(capsys, "latest", "--support", "known", "--query", "new")):
        assert list(row) == ["file", "predicted", "probability_ivy", "probability_lily"]
        assert float(row["probability_ivy"]) + float(row["probability_lily"]) == pytest.approx(1)
    write_classes(tmp_path / "known", names(3), images=1)
    assert main(["predict", run.id, "--support", "known", "--query", "new"]) == 2
    assert (
        "--support is 'known', which contains 5 class folders, but must contain at most 4, the largest number of "
        "ways of the run\n" in capsys.readouterr().err
    )


def test_other_files_are_left_out(images: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [images.path, "--support", "known", "--query", "new"]
    expected = output(capsys, *command)
    for name in ("known/readme.txt", "known/.hidden", "new/Thumbs.db", "new/.hidden.png"):
        (tmp_path / name).write_bytes(b"text")
    notes = (
        "note: known: left out 1 of 4 entries, because only class folders are read\n"
        "note: new: left out 1 of 4 entries, because only .png, .jpg and .jpeg files are read\n"
    )
    assert output(capsys, *command, notes=notes) == expected


def test_control_characters_are_replaced(images: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "known" / "ivy").rename(tmp_path / "known" / "\x1b[2J")
    (tmp_path / "a\n\udcff.png").write_bytes(encode_image(pattern(0)))
    command = [images.path, "--support", "known", "--query", "a\n\udcff.png", "--batch-norm", "per_example"]
    text = output(capsys, *command)
    assert "probability_\ufffd[2J" in text
    assert [row["file"] for row in rows(text)] == ["a \ufffd.png"]
    output(capsys, *command, "--to", "out.csv")
    assert (tmp_path / "out.csv").read_text() == text


def test_diverged_adaptation(
    table: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = AdaptedModel.__call__
    monkeypatch.setattr(AdaptedModel, "__call__", lambda self, x: call(self, x) * math.nan)
    assert main(["predict", str(table.path), "--support", "known.csv", "--query", "new.csv", "--to", "out.csv"]) == 1
    assert capsys.readouterr() == (
        "", "metatui: 2 of 2 predictions are not finite, because the adaptation diverged: lower --steps\n"
    )  # fmt: skip
    assert not Path("out.csv").exists()


def refusal(capsys: pytest.CaptureFixture[str], run: RunFolder, *arguments: str) -> str:
    """Run `metatui predict`, which must fail with exit code 2, and return its one-sentence error message."""
    assert main(["predict", str(run.path), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("metatui: ").rstrip("\n")


FOLDERS = "must be a folder that contains one folder of PNG or JPEG images for each class"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--support", "nowhere"], f"--support is 'nowhere', but {FOLDERS}"),
        (["--support", "x" * 300], f"--support is '{'x' * 199}…', but {FOLDERS}"),
        (["--support", "known.csv"], f"--support is 'known.csv', but {FOLDERS}"),
        (["--support", "new"], f"--support is 'new', which contains no folders, but {FOLDERS}"),
        (
            ["--support", "empty-class"],
            "--support is 'empty-class', whose folder 'fern' contains no PNG or JPEG images, but each class must have "
            "at least one",
        ),
        (
            ["--support", "two"],
            "--support is 'two', which contains 2 class folders, but must contain 3, the number of ways of the run",
        ),
        (["--support", "damaged"], "--support: 'damaged/lily/000.png' is not a PNG or JPEG image"),
        (["--query", "nowhere.png"], "--query is 'nowhere.png', but there is no such file or folder"),
        (["--query", "new", "--query", "new.csv"], "--query: 'new.csv' is not a PNG or JPEG image"),
        (
            ["--query", "known"],
            "--query is 'known', which is a folder without images, but must be a PNG or JPEG image, or a folder that "
            "contains such images",
        ),
        (
            ["--query", "new/000.png"],
            "--query: x has 1 image, but must have at least 2, because batch norm uses their statistics; predictions "
            "with the batch norm per_example need only 1",
        ),
        (["--steps", "0"], "evaluation.inner_steps is 0, but must be a whole number from 1 to 1,000"),
        (["--to", "known"], "--to is 'known', which is a folder, but must be a file"),
    ],
)  # fmt: skip
def test_refused_images(
    images: RunFolder, arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classes(tmp_path / "two", ["lily", "rose"], images=1)
    for name in ("empty-class", "damaged"):
        write_classes(tmp_path / name, ["lily", "rose"], images=1)
        (tmp_path / name / "fern").mkdir()
    (tmp_path / "damaged" / "lily" / "000.png").write_bytes(b"text")
    (tmp_path / "damaged" / "fern" / "0.png").write_bytes(encode_image(pattern(0)))
    given = {"--support": ["--support", "known"], "--query": ["--query", "new"]}
    defaults = [word for option, words in given.items() if option not in arguments for word in words]
    assert refusal(capsys, images, *defaults, *arguments) == sentence


@pytest.mark.parametrize(
    ("known", "new", "arguments", "sentence"),
    [
        (
            "x0,y0\n1,2\n", NEW, [],
            "--support: 'known.csv' has the columns x0, y0, but must have the columns x0, y0, y1",
        ),
        (KNOWN, "y0\n1\n", [], "--query: 'new.csv' has the columns y0, but must have the column x0"),
        (KNOWN, "x0\n1\n \n", [], "--query: 'new.csv', line 3: column 'x0' is empty, but must be a number"),
        (KNOWN, "x0\n", [], "--query: 'new.csv' has column names but no rows"),
        (KNOWN, NEW, ["--support", "nowhere.csv"], "--support is 'nowhere.csv', but there is no such file or folder"),
        (
            KNOWN, NEW, ["--support", "known"],
            "--support is 'known', which is a folder, but must be a CSV or Parquet file with the columns x0, y0, y1",
        ),
        (
            KNOWN, NEW, ["--query", "new.csv"],
            "--query is given 2 times, but must be given once for a run with a table",
        ),
        (
            KNOWN, NEW, ["--batch-norm", "per_example"],
            "evaluation.batch_norm is 'per_example', but the model of this run has no batch norm",
        ),
    ],
)  # fmt: skip
def test_refused_tables(
    table: RunFolder, known: str, new: str, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("known.csv").write_text(known)
    Path("new.csv").write_text(new)
    assert refusal(capsys, table, "--support", "known.csv", "--query", "new.csv", *arguments) == sentence


def test_refused_task(sinusoid: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, sinusoid, "--support", "known.csv", "--query", "new.csv") == (
        "the run has task.source = 'sinusoid', but predict needs a run with images from a folder (folder or mixed) or "
        "with a table"
    )


@pytest.mark.parametrize("missing", ["--support", "--query"])
def test_required_options(missing: str, sinusoid: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"--support": "known", "--query": "new"}
    del given[missing]
    sentence = refusal(capsys, sinusoid, *(word for pair in given.items() for word in pair))
    assert sentence == f"Missing option '{missing}': 'metatui predict --help' shows examples"
