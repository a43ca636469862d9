"""Tests of `metatui runs export`, which writes the metrics of a run as CSV."""

from __future__ import annotations

import csv
import errno
import io
import math
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from metatui.cli.main import main
from metatui.config.settings import Settings
from metatui.events import Progress
from metatui.runs.storage import journal, jsonl, metrics
from metatui.runs.storage.journal import JournalWriter
from metatui.runs.storage.jsonl import line
from metatui.runs.storage.metrics import MetricsWriter
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore

STEP = Progress(1, 0.5, None, 0.75, 1.25, 0.001, 4, 0.125)
HEADER = "iteration,meta_loss,accuracy,support_loss,grad_norm,outer_lr,tasks_seen,seconds\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("METATUI_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return RunStore().create(Settings())


def write(run: RunFolder, steps: list[Progress]) -> None:
    writer = MetricsWriter(run.metrics_path, after=0)
    for step in steps:
        writer.append(step)
    writer.close()


def test_export_to_standard_output(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    write(run, [STEP, replace(STEP, iteration=2, meta_loss=math.nan, accuracy=0.25)])
    assert main(["runs", "export", run.id]) == 0
    out, err = capsys.readouterr()
    assert out == HEADER + "1,0.5,,0.75,1.25,0.001,4,0.125\n2,nan,0.25,0.75,1.25,0.001,4,0.125\n"
    assert err == ""


def test_export_of_a_long_run(
    run: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics.MetricsReader.read_new, "__defaults__", (1000,))
    steps = [replace(STEP, iteration=i, meta_loss=1 / i) for i in range(1, 301)]
    write(run, steps)
    assert main(["runs", "export", run.id, "--to", "-"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [int(row["iteration"]) for row in rows] == list(range(1, 301))
    assert [float(row["meta_loss"]) for row in rows] == pytest.approx([step.meta_loss for step in steps], rel=1e-8)


def test_validations(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    journal = JournalWriter(run.journal_path)
    about = {"split": "val", "tasks": 100, "shots": 5, "batch_norm": None, "inner_step": 10}
    journal.record("evaluated", 20, best=True, **about, loss=9.0)  # replaced by the second validation at meta-step 20
    for iteration in (10, 20, 30):
        loss: dict[str, Any] = {"loss": iteration / 10, "loss_ci95": 0.5, "accuracy": None, "accuracy_ci95": None}
        loss |= (
            {"inner_lr": 0.1, "diverged": 3} if iteration == 20 else {}
        )  # the others are in the format of older versions
        journal.record("evaluated", iteration, best=iteration == 10, **about, **loss)
    journal.record("started", 20)  # undoes the third validation
    journal.close()
    assert main(["runs", "export", run.id, "--evaluations"]) == 0
    assert capsys.readouterr().out == (
        "iteration,split,tasks,shots,batch_norm,inner_step,loss,loss_ci95,accuracy,accuracy_ci95,best,inner_lr,diverged\n"
        "10,val,100,5,,10,1.0,0.5,,,True,,\n"
        "20,val,100,5,,10,2.0,0.5,,,False,0.1,3\n"
    )


def test_control_characters_are_replaced(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    journal = JournalWriter(run.journal_path)
    journal.record("evaluated", 10, split="val\x07", batch_norm="\x1b[2J", tasks=["\x07"])
    journal.close()
    assert main(["runs", "export", run.id, "--evaluations"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["split"], row["batch_norm"], row["tasks"]) == ("val\ufffd", "\ufffd[2J", "['\\x07']")


def test_force_replaces_a_file(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(run, [STEP])
    assert main(["runs", "export", run.id, "--to", "out.csv"]) == 0
    assert capsys.readouterr().out == "Wrote 1 row to out.csv\n"
    before = (tmp_path / "out.csv").read_text()
    assert before == HEADER + "1,0.5,,0.75,1.25,0.001,4,0.125\n"
    write(run, [STEP, replace(STEP, iteration=2)])
    assert main(["runs", "export", run.id, "--to", "out.csv"]) == 2
    assert (
        "--to is 'out.csv', which already exists: choose another name, or replace the file with --force"
        in capsys.readouterr().err
    )
    assert (tmp_path / "out.csv").read_text() == before
    assert main(["runs", "export", run.id, "--to", "out.csv", "--force"]) == 0
    assert (tmp_path / "out.csv").read_text().count("\n") == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "runs"]


def test_lost_metrics_are_not_exported(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    journal = JournalWriter(run.journal_path)
    journal.record("finished", 3)
    journal.close()
    steps = [replace(STEP, iteration=i) for i in range(1, 4)]
    cannot = f"metatui: the metrics of run '{run.id}' cannot be exported: "
    name = run.metrics_path.name
    for damaged, sentence in (
        (b"", f"it reached meta-step 3, but its {name} is missing, empty or damaged"),
        (b"no JSON\n", f"it reached meta-step 3, but its {name} is missing, empty or damaged"),
        (steps[1:], f"it has a {name} that starts at meta-step 2"),
        (steps[:2], f"it reached meta-step 3, but its {name} ends at 2"),
        ([steps[0], steps[2]], f"it has a {name} with missing or damaged lines, the first of them for meta-step 2"),
    ):
        run.metrics_path.write_bytes(damaged if isinstance(damaged, bytes) else b"")
        if not isinstance(damaged, bytes):
            write(run, damaged)
        assert main(["runs", "export", run.id, "--to", "x.csv"]) == 2
        assert capsys.readouterr().err == f"{cannot}{sentence}\n"
        assert not os.path.exists("x.csv")


def test_metrics_with_a_damaged_block_are_not_exported(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    write(run, [replace(STEP, iteration=i) for i in range(1, 11)])
    lines = run.metrics_path.read_bytes().splitlines(keepends=True)
    run.metrics_path.write_bytes(b"".join([*lines[:3], b"\0" * (2 * metrics.CHUNK + 1), *lines[6:]]))
    assert main(["runs", "export", run.id, "--to", "x.csv"]) == 2
    sentence = "it has a metrics.jsonl with missing or damaged lines, the first of them for meta-step 4"
    assert capsys.readouterr().err == f"metatui: the metrics of run '{run.id}' cannot be exported: {sentence}\n"
    assert not os.path.exists("x.csv")


def test_run_without_meta_steps(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "export", run.id]) == 0
    assert capsys.readouterr().out == HEADER


@pytest.mark.parametrize("kept", [1, 0], ids=["later meta-step", "start"])
def test_run_resumed_during_export(
    kept: int, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(run, [replace(STEP, iteration=i) for i in range(1, 101)])
    real = metrics.MetricsReader.read_new

    def read_new(reader: metrics.MetricsReader, limit: int = 5000) -> list[Progress]:
        steps = real(reader, limit)
        write(run, [STEP] * kept)  # truncates the file, like resuming
        return steps

    monkeypatch.setattr(metrics.MetricsReader, "read_new", read_new)
    assert main(["runs", "export", run.id, "--to", "out.csv"]) == 1
    assert "was resumed or deleted during the export" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize("options", [[], ["--evaluations"]], ids=["metrics", "validations"])
@pytest.mark.parametrize("readable", [0, metrics.CHUNK], ids=["start", "second chunk"])
def test_unreadable_disk_fails_the_export(
    options: list[str],
    readable: int,
    run: RunFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = run.journal_path if options else run.metrics_path
    file.write_bytes(line(asdict(STEP)) * 20_000)

    class Damaged(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() + (size or 0) > readable:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(size)

    for module in (jsonl, journal):
        monkeypatch.setattr(module, "open_regular", Damaged)
    assert main(["runs", "export", run.id, *options, "--to", "out.csv"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"metatui: '{file}' cannot be read: input/output error\n")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "nowhere"], "'nowhere' is not a run in"),
        (["export", "\x1b[31m"], "is not a run in"),
        (["export"], "Missing argument 'RUN'"),
        (["export", "RUN", "--to", "."], "--to is '.', which is a folder"),
        (["export", "RUN", "--to", ""], "--to is '.', which is a folder"),
        (["export", "RUN", "--to", "no/such/x.csv"], "--to is 'no/such/x.csv', but there is no folder 'no/such'"),
        (["export", "RUN", "--to", "~nobody-of-this-name/x.csv"], "is in the home folder of an unknown user"),
        (["export", "RUN", "--to", "a\0b"], "not a valid file name"),
        (["export", "RUN", "--to", "x" * 300], "cannot be written: file name too long"),
        (["--json", "export", "RUN"], "options of 'export' must be given after 'export'"),
        (["exprot", "RUN"], "'exprot' is not a command of metatui runs: did you mean export?"),
    ],
)
def test_bad_arguments_are_refused(
    run: RunFolder, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["runs", *(run.id if word == "RUN" else word for word in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
