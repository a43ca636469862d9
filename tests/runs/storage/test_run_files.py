"""Tests of the files of a run: incomplete and invalid lines, locks, and lists of runs."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import pwd
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from hypothesis import given, settings
from hypothesis import strategies as st

from metatui.cli.commands.evaluate import evaluate
from metatui.cli.commands.stop import stop
from metatui.config.fields import parse
from metatui.config.settings import Settings
from metatui.events import Curve, CurveView, Evaluation, ImageView, Progress, RegressionView, ScatterView, TaskView
from metatui.runs.execution.session import Session
from metatui.runs.storage import result_files
from metatui.runs.storage.journal import JournalWriter, effective_entries, last_status, read_journal
from metatui.runs.storage.jsonl import line, parse_lines
from metatui.runs.storage.lock import RunLock, is_held, other_user, released_by
from metatui.runs.storage.metrics import MAX_LINE_BYTES, MetricsReader, MetricsWriter, last_progress, sampled
from metatui.runs.storage.result_files import AdaptationRecord, EvaluationRecord, read_record, write_record, write_tasks
from metatui.runs.storage.run_folder import RunFolder, run_folder
from metatui.runs.storage.store import RunStore
from metatui.runs.storage.writer import RunWriter
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError
from metatui.utils.files import WriteRefusedError
from tests.metrics import read_all

STEP = Progress(1, 0.5, None, 0.75, 1.25, 0.001, 4, 0.125)
EVALUATION = Evaluation("test", 600, 5, 10, None, None, 70, (0, 1), Curve((3.0, 0.5), (0.25, 0.125)), None, seconds=1.5)


def steps(first: int, last: int) -> list[Progress]:
    return [replace(STEP, iteration=i, tasks_seen=4 * i, meta_loss=1 / i) for i in range(first, last + 1)]


def write_metrics(path: Path, progress: list[Progress], *, after: int = 0) -> None:
    writer = MetricsWriter(path, after=after)
    for each in progress:
        writer.append(each)
    writer.close()


def test_metrics_read_back_to_float32_precision(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    written = [replace(p, accuracy=0.25) for p in steps(1, 3)] + [replace(STEP, iteration=4, meta_loss=math.nan)]
    write_metrics(path, written)
    read = read_all(MetricsReader(path))
    assert [p.iteration for p in read] == [1, 2, 3, 4]
    assert [p.accuracy for p in read] == [0.25, 0.25, 0.25, None]
    assert read[2].meta_loss == pytest.approx(1 / 3, rel=1e-8)
    assert math.isnan(read[3].meta_loss)
    last = last_progress(path)
    assert last is not None
    assert last.iteration == 4


def test_huge_integers_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_metrics(path, steps(1, 2))
    path.write_text(path.read_text().replace('"meta_loss":0.5', f'"meta_loss":{10**400}'))
    assert [p.iteration for p in read_all(MetricsReader(path))] == [1]
    journal = JournalWriter(tmp_path / "journal.jsonl")
    journal.record("started", 0)
    journal.record("finished", 2, seconds=10**400)
    journal.close()
    assert [entry.event for entry in read_journal(tmp_path / "journal.jsonl")] == ["started"]


@pytest.mark.parametrize("seconds", ["null", "NaN", "Infinity", "1e308", "-1"])
def test_lines_without_a_valid_time_are_skipped(seconds: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_metrics(path, steps(1, 2))
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{second.replace('0.125', seconds)}\n")
    assert [p.iteration for p in read_all(MetricsReader(path))] == [1]


def test_torn_line_is_read_once_completed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_metrics(path, steps(1, 3))
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    reader = MetricsReader(path)
    assert [p.iteration for p in reader.read_new()] == [1, 2]
    assert reader.read_new() == []
    assert last_progress(path) == steps(2, 2)[0]
    path.write_bytes(whole)
    assert [p.iteration for p in reader.read_new()] == [3]


def lose(path: Path, first: int, last: int, size: int) -> None:
    """Replace the metrics of meta-steps `first` to `last` with `size` zero bytes, like a disk that loses a block."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: first - 1]) + b"\0" * size + b"".join(lines[last:]))


@pytest.mark.parametrize("size", [50, 1000, 1001, 5000])
def test_metrics_after_a_damaged_block_are_read(size: int, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_metrics(path, steps(1, 60))
    lose(path, 21, 40, size)
    reader, read = MetricsReader(path), []
    while new := reader.read_new(limit=1000):
        read += [p.iteration for p in new]
        assert not reader.restarted
    assert read[:20] == list(range(1, 21))
    assert read[-19:] == list(range(42, 61))  # the block also damages the line that it ends in


def test_resuming_keeps_metrics_after_a_damaged_block(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_metrics(path, steps(1, 60))
    lose(path, 21, 40, 3 * MAX_LINE_BYTES)
    write_metrics(path, steps(51, 52), after=50)
    assert [p.iteration for p in read_all(MetricsReader(path))] == [*range(1, 21), *range(42, 53)]
    write_metrics(path, steps(31, 32), after=30)  # within the block
    assert [p.iteration for p in read_all(MetricsReader(path))] == [*range(1, 21), 31, 32]


def test_reading_ends_at_a_huge_damaged_block(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_metrics(path, steps(1, 60))
    end = path.stat().st_size
    os.truncate(path, 10**12)
    assert [p.iteration for p in read_all(MetricsReader(path))] == list(range(1, 61))
    reader = MetricsReader(path, whole=True)
    assert len(reader.read_new()) == 60
    sentence = f"metrics.jsonl' cannot be read beyond byte {end:,}, because more than 16 MiB in a row are damaged"
    with pytest.raises(BadInput, match=sentence):
        reader.read_new()
    write_metrics(path, steps(61, 62), after=60)
    assert [p.iteration for p in read_all(MetricsReader(path))] == list(range(1, 63))


@pytest.mark.parametrize("torn", [0, 7])
def test_lines_after_the_checkpoint_are_removed(tmp_path: Path, torn: int) -> None:
    path = tmp_path / "metrics.jsonl"
    write_metrics(path, steps(1, 9))
    path.write_bytes(path.read_bytes()[: -torn or None])
    reader = MetricsReader(path)
    read_all(reader)
    write_metrics(path, steps(6, 7), after=5)
    assert [p.iteration for p in read_all(reader)] == [1, 2, 3, 4, 5, 6, 7]
    assert json.loads(path.read_bytes().splitlines()[-1])["iteration"] == 7


def test_sample_covers_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert sampled(path) == []
    write_metrics(path, steps(1, 2000))
    assert [p.iteration for p in sampled(path)] == list(range(1, 2001))
    part = [p.iteration for p in sampled(path, most=10_000, parts=10)]
    assert part == sorted(set(part))
    assert (part[0], part[-1]) == (1, 2000)
    assert max(later - earlier for earlier, later in pairwise(part)) < 300


def test_restarted_reading_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_metrics(path, steps(1, 9))
    reader = MetricsReader(path)
    reader.read_new()
    assert not reader.restarted
    write_metrics(path, [], after=2)
    assert [p.iteration for p in reader.read_new()] == [1, 2]
    assert reader.restarted


@given(junk=st.binary(max_size=300))
def test_junk_between_lines_is_skipped(junk: bytes) -> None:
    data = line({"a": 1}) + junk.replace(b"{", b"[") + b"\n" + line({"a": 2})
    assert list(parse_lines(data)) == [{"a": 1}, {"a": 2}]


@settings(max_examples=30)
@given(items=st.lists(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats() | st.text())))
def test_arbitrary_lines_are_skipped(tmp_path_factory: pytest.TempPathFactory, items: list[object]) -> None:
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    path.write_bytes(b"".join(json.dumps(item).encode() + b"\n" for item in items))
    assert read_all(MetricsReader(path)) == []
    assert last_progress(path) is None
    assert read_journal(path) == []


def test_journal_continues_after_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = JournalWriter(path)
    first.record("started", 0, preset=None)
    first.close()
    path.write_bytes(path.read_bytes() + b'{"time":"2026-')
    second = JournalWriter(path)
    second.record("paused", 7, odd=math.inf)
    second.close()
    entries = read_journal(path)
    assert [(e.event, e.iteration) for e in entries] == [("started", 0), ("paused", 7)]
    assert entries[1].details == {"odd": None}
    assert entries[1].time.utcoffset() is not None


@pytest.mark.parametrize(
    "time",
    ["1970-01-01T00:00:07.000Z", "1969-12-31T23:59:59.999Z", "2106-02-07T06:28:16.000Z", "0001-01-01T00:00:00+14:00",
     "9999-12-31T23:59:59-14:00", "1980-01-06T00:00:00.000+01:00"],
)  # fmt: skip
def test_journal_entries_with_a_wrong_clock_are_kept(time: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps({"time": time, "event": "finished", "iteration": 3}) + "\n")
    (entry,) = read_journal(path)
    assert last_status([entry]) == "finished"
    for zone in (timezone(timedelta(hours=14)), timezone(timedelta(hours=-14)), UTC):  # all zones can represent it
        assert entry.time.astimezone(zone).year


@pytest.mark.parametrize("time", [None, "", "yesterday", "1970-01-01T00:00:00", 7, ["1970"]])
def test_journal_entries_without_a_time_are_skipped(time: object, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps({"time": time, "event": "finished", "iteration": 3}) + "\n")
    assert read_journal(path) == []


def test_long_journal_keeps_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that old commands in a long journal are read, although other old entries are skipped.

    A resumed run needs these commands.
    """
    largest = 500_000
    monkeypatch.setattr("metatui.runs.storage.journal.TAIL_BYTES", largest)
    writer = JournalWriter(tmp_path / "journal.jsonl")
    writer.append("started", 0, device="cpu")
    writer.append("tweaked", 1, path="algorithm.inner_lr", old=0.01, new=0.02)
    writer.append("evaluated", 2, regular=False)
    writer.append("undone", 2, path="algorithm.inner_lr", new=0.02, at=1)
    validations = 3 * largest // 1000
    for iteration in range(3, 3 + validations):
        writer.append("evaluated", iteration, regular=True, padding="x" * 1000)
    writer.close()
    read = read_journal(tmp_path / "journal.jsonl")
    assert [(entry.event, entry.iteration) for entry in read[:4]] == [
        ("started", 0), ("tweaked", 1), ("evaluated", 2), ("undone", 2),
    ]  # fmt: skip
    assert [entry.iteration for entry in read[4:]] == list(range(3 + validations - len(read) + 4, 3 + validations))
    assert largest // 1200 < len(read) < validations


def test_restart_undoes_later_entries(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "journal.jsonl")
    for event, iteration in [("started", 0), ("evaluated", 10), ("tweaked", 15), ("evaluated", 20), ("started", 12)]:
        writer.record(event, iteration)
    writer.close()
    kept = effective_entries(read_journal(tmp_path / "journal.jsonl"))
    assert [(e.event, e.iteration) for e in kept] == [
        ("started", 0), ("evaluated", 10), ("tweaked", 15), ("started", 12),
    ]  # fmt: skip
    assert last_status(kept) == "running"


def test_one_writer_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run" / "lock"
    path.parent.mkdir()
    assert not is_held(path)
    lock = RunLock(path)
    assert is_held(path)
    assert other_user(path) == ""
    with monkeypatch.context() as patched:
        patched.setattr("os.geteuid", lambda: os.getuid() + 1)
        assert other_user(path) == pwd.getpwuid(os.getuid()).pw_name
    with pytest.raises(BadInput, match="run 'run' is in use by this process"):
        RunLock(path)
    assert released_by(path) is None
    size = path.stat().st_size
    lock.release()
    lock.release()
    assert not is_held(path)
    assert released_by(path) == os.getpid()
    assert path.stat().st_size == size, "a full disk accepts the record"
    RunLock(path).release()


def test_shared_lock_that_is_never_released_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metatui.runs.storage.lock.PATIENCE", 0.0)
    path = tmp_path / "lock"
    with path.open("w") as shared:
        fcntl.flock(shared, fcntl.LOCK_SH)
        with pytest.raises(BadInput, match="lock' is locked by another process"):
            RunLock(path)
    RunLock(path).release()


def test_lock_is_released_when_its_process_dies(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = "from pathlib import Path; from metatui.runs.storage.lock import RunLock; "
    code += f"lock = RunLock(Path({str(path)!r})); "
    holder = subprocess.Popen(
        [sys.executable, "-c", code + "print('held', flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    assert is_held(path)
    with pytest.raises(BadInput, match=f"is in use by process {holder.pid}"):
        RunLock(path)
    holder.kill()
    holder.communicate()
    assert not is_held(path)
    assert released_by(path) is None
    RunLock(path).release()


CURVE = CurveView(2, "C", "h", "g", (0.5,), (1.0,), (0.25,), (2.0,), (0.0, 1.0), ((0.0, 2.0),), (1.0,), "MSE")
SCATTER = ScatterView(3, "D", ("y", "z"), ((1.0,), (2.0,)), (((1.5,), (math.inf,)),), (1.0,), "MSE")


def test_records_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    assert read_record(path, EvaluationRecord) is None
    record = EvaluationRecord(best=EVALUATION, test=replace(EVALUATION, loss=Curve((math.inf, 0.5), (0.0, 0.0))))
    write_record(path, record)
    assert read_record(path, EvaluationRecord) == record
    json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    write_record(path, EvaluationRecord(test=replace(EVALUATION, loss=Curve((math.nan, 0.5), (0.0, 0.0)))))
    test = getattr(read_record(path, EvaluationRecord), "test", None)
    assert test is not None
    assert math.isnan(test.loss.mean[0])
    regression = RegressionView(0, "A", (0.5,), (1.0,), (0.0, 1.0), (0.0, 1.0), ((0.0, 2.0),), (1.0,))
    image = ImageView(1, "B", 1, 2, (b"\x00\xff",), (0,), (b"\xfe\x01",), (0,), ((1,),), (0.5,), (0.75,))
    colours = replace(image, support=(b"\x00\xff\x80" * 2,), query=(bytes(6),), channels=3)
    drawn = AdaptationRecord(iteration=3, split="val", views=(regression, CURVE, SCATTER, image, colours))
    write_record(tmp_path / "adaptation.json", drawn)
    assert read_record(tmp_path / "adaptation.json", AdaptationRecord) == drawn


def test_as_many_tasks_are_written_as_can_be_read(tmp_path: Path) -> None:
    """Check that only as many tasks are written as fit within the limits for reading.

    With 200 query images and 1,000 inner steps, a task has more than 200,000 values, so that only four tasks fit within
    the limit of 1,000,000 values.
    """
    path = tmp_path / "adaptation.json"
    image = ImageView(1, "B", 1, 1, (b"0",), (0,), (b"0",) * 200, (0,) * 200, ((1,) * 200,) * 1001, (), ())
    write_tasks(path, AdaptationRecord(iteration=3, split="val", views=(image,) * 6))
    assert read_record(path, AdaptationRecord) == AdaptationRecord(iteration=3, split="val", views=(image,) * 4)
    large = replace(image, width=2048, height=2048, support=(bytes(2048**2),) * 13, support_labels=(0,) * 13)
    write_tasks(path, AdaptationRecord.model_construct(iteration=3, split="val", views=(CURVE, large)))
    assert read_record(path, AdaptationRecord) == AdaptationRecord(iteration=3, split="val", views=(CURVE,))


def test_a_run_records_as_many_tasks_as_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_files, "MAX_VALUES", 3500)
    settings = parse({"training": {"iterations": 2}, "evaluation": {"tasks": 8}})
    session = Session.start(settings, runs_dir=tmp_path)
    list(session)
    assert [view.task for view in session.run.views()] == [0, 1]


@pytest.mark.parametrize(
    "view",
    [
        replace(CURVE, query_x=(1.0, 2.0)),
        replace(CURVE, predictions=((1.0,),)),
        replace(SCATTER, truth=()),
        replace(SCATTER, targets=("y",)),
        replace(SCATTER, predictions=(((1.0,),),)),
        replace(SCATTER, predictions=(((1.0, 2.0), (1.0, 2.0)),)),
        ImageView(1, "B", 1, 2, (b"\x00\xff",), (0,), (), (), (), (), (), channels=3),
        ImageView(1, "B", 1, 2, (b"\x00\xff" * 2,), (0,), (), (), (), (), (), channels=2),
    ],
)
def test_inconsistent_views_are_refused(tmp_path: Path, view: TaskView) -> None:
    path = tmp_path / "adaptation.json"
    write_record(path, AdaptationRecord.model_construct(iteration=3, split="val", views=(view,)))
    with pytest.raises(BadInput, match="must have as many values"):
        read_record(path, AdaptationRecord)


def test_curves_of_a_wrong_length_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    for change in ({"steps": ()}, {"loss": Curve((), ())}, {"accuracy": Curve((0.5,), (0.1, 0.1))}):
        write_record(path, EvaluationRecord.model_construct(best=replace(EVALUATION, **change)))
        with pytest.raises(BadInput, match="one value for each inner step"):
            read_record(path, EvaluationRecord)


@pytest.mark.parametrize(
    "text", ["[]", '{"test": 5}', '{"test": {"split": "test"}}', '{"other": null}', '{"\\u001b[0m": null}']
)
def test_invalid_records_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"evaluation\.json' cannot be used: .* at ") as caught:
        read_record(path, EvaluationRecord)
    assert str(caught.value).isprintable()


def test_create_find_and_delete_runs(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    first, second = store.create(Settings(), preset="quick"), store.create(Settings())
    assert first.settings() == Settings()
    assert first.id.startswith("maml-sinusoid-20")
    assert {run.id for run in store.runs()} == {first.id, second.id}
    assert store.find(first.id) == first
    assert store.find(second.path) == store.find(str(second.path)) == second
    store.delete(first)
    assert store.find("maml") == second
    assert not first.path.exists()


def test_only_the_link_to_a_run_is_deleted(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    run = store.create(Settings())
    run.path.rename(tmp_path / "disk")
    run.path.symlink_to(tmp_path / "disk")
    before = sorted(os.listdir(tmp_path / "disk"))
    store.delete(run)
    assert not os.path.lexists(run.path)
    assert sorted(os.listdir(tmp_path / "disk")) == before


def test_the_link_to_a_live_run_is_not_deleted(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    run = store.create(Settings())
    run.path.rename(tmp_path / "disk")
    run.path.symlink_to(tmp_path / "disk")
    lock = RunLock(run.lock_path)
    with pytest.raises(BadInput, match="is in use by this process"):
        store.delete(run)
    lock.release()
    assert run.is_run()


def test_argument_for_the_shell_is_complete_and_printable(tmp_path: Path) -> None:
    runs = paths.runs_dir()
    assert RunFolder(runs / ("n" * 200)).argument == "n" * 200
    assert RunFolder(runs / "two words").argument == "'two words'"
    assert RunFolder(tmp_path / "\x1b[31m" / "a").argument == f"'{tmp_path}/�[31m/a'"


def test_runs_of_the_same_second_are_numbered(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    assert len({store.create(Settings()).path for _ in range(5)}) == 5


def test_unknown_run_suggests_the_nearest_names(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with pytest.raises(BadInput, match=r"'x' is not a run in .*: 'metatui runs' lists all runs"):
        store.find("x")
    for name in ("maml-1", "maml-2", "reptile-1"):
        store.create(Settings()).path.rename(tmp_path / name)
    with pytest.raises(BadInput, match="2 runs have names that start with 'maml': maml-1, maml-2"):
        store.find("maml")
    with pytest.raises(BadInput, match=r"did you mean reptile-1\?"):
        store.find("reptil-1")
    with pytest.raises(BadInput, match=r"did you mean latest\?"):
        store.find("lattest")
    for odd in ("", "..", ".", "a/b", "\0", "/", "x" * 5000 + "/"):
        with pytest.raises(BadInput):
            store.find(odd)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b'{"format": 1,', "it is incomplete"),
        (b"# x", "it is not JSON (expected value at line 1 column 1)"),
    ],
)
def test_damaged_results_are_described_in_plain_words(tmp_path: Path, data: bytes, problem: str) -> None:
    path = tmp_path / "evaluation.json"
    path.write_bytes(data)
    with pytest.raises(BadInput, match=re.escape(f"evaluation.json' cannot be used: {problem}") + "$"):
        read_record(path, EvaluationRecord)


def test_only_live_run_is_found_by_the_beginning_of_its_name(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for name in ("maml-1", "maml-2", "maml-3"):
        store.create(Settings()).path.rename(tmp_path / name)
    with pytest.raises(BadInput, match="3 runs have names that start with 'maml'"):
        store.find("maml", live=True)
    locks = [RunLock(tmp_path / "maml-2" / "lock")]
    assert store.find("maml", live=True).id == "maml-2"
    with pytest.raises(BadInput, match="3 runs have names that start with 'maml'"):
        store.find("maml")
    for command, names in ((stop, ["latest", "maml-2"]), (evaluate, ["latest", "maml-1", "maml-2", "maml-3"])):
        complete = ShellComplete(command, {}, "metatui", "_METATUI_COMPLETE")
        assert [item.value for item in complete.get_completions(["--runs-dir", str(tmp_path)], "")] == names
    locks.append(RunLock(tmp_path / "maml-3" / "lock"))
    with pytest.raises(BadInput, match="2 runs that are training have names that start with 'maml': maml-2, maml-3"):
        store.find("maml", live=True)
    for lock in locks:
        lock.release()


def test_live_run_is_not_deleted(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    run = store.create(Settings())
    lock = RunLock(run.lock_path)
    with pytest.raises(BadInput, match="is in use by this process"):
        store.delete(run)
    lock.release()
    assert run.is_run()


def test_other_folders_are_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    store = RunStore(tmp_path)
    assert store.runs() == []
    with pytest.raises(BadInput, match=r"is not a run: it has no settings\.toml"):
        store.delete(RunFolder(tmp_path / "photos"))
    with pytest.raises(BadInput, match=r"is not a run: it has no settings\.toml"):
        run_folder(tmp_path / "photos")


def test_summaries_are_newest_first_and_survive_broken_runs(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    runs = [store.create(Settings()) for _ in range(3)]
    for number, run in enumerate(runs):
        entry = {"time": f"2026-01-0{number + 1}T00:00:00Z", "event": "started", "iteration": 0, "preset": "q\x1b"}
        run.journal_path.write_bytes(line(entry))
        write_metrics(run.metrics_path, steps(1, number + 1))
    write_record(runs[0].evaluation_path, EvaluationRecord(test=EVALUATION))
    finished = {"time": "2026-01-01T01:00:00Z", "event": "finished", "iteration": EVALUATION.iteration}
    with runs[0].journal_path.open("ab") as journal:
        journal.write(line(finished))
    runs[1].settings_path.write_text("[task")
    found = store.summaries()
    assert [summary.run for summary in found] == runs[::-1]
    assert [summary.iteration for summary in found] == [3, 2, 1]
    assert [summary.status for summary in found] == ["interrupted", "interrupted", "finished"]
    assert found[2].test == EVALUATION
    assert found[1].settings is None
    assert "is not TOML" in (found[1].problem or "")
    assert found[0].preset == "q�"


@pytest.mark.parametrize(
    ("events", "held", "status"),
    [
        ([], False, "interrupted"),
        ([], True, "running"),
        (["started"], True, "running"),
        (["started", "paused"], True, "paused"),
        (["started", "paused", "resumed"], True, "running"),
        (["started", "paused"], False, "interrupted"),
        (["started", "evaluated"], False, "interrupted"),
        (["started", "finished"], False, "finished"),
        (["started", "stopped"], False, "stopped"),
        (["started", "failed"], False, "failed"),
        (["started", "interrupted"], False, "interrupted"),
        (["started", "finished", "started"], True, "running"),
    ],
)
def test_status(tmp_path: Path, events: list[str], held: bool, status: str) -> None:
    run = RunStore(tmp_path).create(Settings())
    journal = JournalWriter(run.journal_path)
    for event in events:
        journal.record(event, 0)
    journal.close()
    lock = RunLock(run.lock_path) if held else None
    assert run.status() == status
    assert RunStore(tmp_path).live_duplicates(Settings()) == [run] * held
    if lock:
        lock.release()


def test_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MetatuiError, match=r"settings\.toml' cannot be written: no space left on device"):
        RunStore(tmp_path).create(Settings())
    assert not list(tmp_path.iterdir())


def test_unwritable_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MetatuiError, match=r"file/runs' cannot be written: not a directory"):
        RunStore(tmp_path / "file" / "runs").create(Settings())
    assert RunStore(tmp_path / "file" / "runs").summaries() == []


def test_rewritten_metrics_are_detected(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_metrics(path, steps(1, 5))
    reader = MetricsReader(path)
    read_all(reader)
    write_metrics(path, [replace(each, seconds=9.0) for each in steps(3, 60)], after=2)
    assert path.stat().st_size > reader.offset
    found = reader.read_new()
    assert reader.restarted
    assert [p.iteration for p in found] == list(range(1, 61))
    assert {p.seconds for p in found[2:]} == {9.0}
    assert reader.read_new() == []
    assert not reader.restarted


def test_refused_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.jsonl"
    journal = JournalWriter(path)
    journal.record("started", 0)
    pwrite = os.pwrite

    def short(handle: int, data: bytes, at: int) -> int:
        monkeypatch.setattr(os, "pwrite", full)
        return pwrite(handle, data[:7], at)

    def full(handle: int, data: bytes, at: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", short)
    with pytest.raises(WriteRefusedError) as caught:
        journal.record("paused", 3)
    assert caught.value.is_temporary
    assert [entry.event for entry in read_journal(path)] == ["started"]
    monkeypatch.undo()
    journal.record("resumed", 3)
    journal.close()
    assert [entry.event for entry in read_journal(path)] == ["started", "paused", "resumed"]
    assert len(path.read_bytes().splitlines()) == 3


def test_data_lost_by_a_failed_sync_are_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.jsonl"
    journal = JournalWriter(path)
    journal.record("started", 0)
    size = path.stat().st_size

    def lost(handle: int) -> None:
        os.truncate(path, size)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", lost)
    with pytest.raises(WriteRefusedError, match=r"journal\.jsonl' cannot be written: input/output error"):
        journal.record("paused", 3)
    monkeypatch.undo()
    journal.flush()
    journal.close()
    assert [entry.event for entry in read_journal(path)] == ["started", "paused"]


def test_journal_entries_of_a_run_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunStore(tmp_path).create(Settings())
    writer = RunWriter(run, RunLock(run.lock_path))
    synced = []

    def fsync(handle: int) -> None:
        status = os.fstat(handle)
        if os.path.samestat(status, run.journal_path.stat()):
            synced.append(status.st_size)

    monkeypatch.setattr(os, "fsync", fsync)
    writer.note("paused", 3)
    writer.catch_up()
    assert synced == [run.journal_path.stat().st_size]
    assert synced != [0]
    writer.close()


def test_files_of_interrupted_writes_are_removed(tmp_path: Path) -> None:
    run = RunStore(tmp_path).create(Settings())
    run.checkpoints_path.mkdir()
    names = (".evaluation.json.4242.tmp", "checkpoints/last.new", "checkpoints/best.new", "checkpoints/.best.new.7.tmp")
    for name in (*names, ".notes.4242.tmp"):
        (run.path / name).write_bytes(b"partial")
    RunWriter(run, RunLock(run.lock_path)).close()
    assert [name for name in names if (run.path / name).exists()] == []
    assert (run.path / ".notes.4242.tmp").exists(), "a file of the user"


def test_lock_takeover_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = RunLock(path)
    lock.confirm()
    path.write_text('{"pid": 7, "host": "elsewhere"}')
    with pytest.raises(BadInput, match=r"was taken over by process 7 on 'elsewhere'"):
        lock.confirm()
    lock.release()
    assert path.read_text() == '{"pid": 7, "host": "elsewhere"}'


NEWER = r"was written by a newer version \(format 2, but this version reads up to 1\): update metatui"


def test_newer_formats_are_reported(tmp_path: Path) -> None:
    run = RunStore(tmp_path).create(Settings())
    assert run.settings_path.read_text().startswith("format = 1\n")
    journal = JournalWriter(run.journal_path)
    journal.record("started", 0, format=2)
    journal.close()
    with pytest.raises(BadInput, match=rf"journal\.jsonl' {NEWER}"):
        Session.resume(run)
    (summary,) = RunStore(tmp_path).summaries()
    assert "newer version" in (summary.problem or "")
    run.evaluation_path.write_text('{"format": 2, "curves": []}')
    with pytest.raises(BadInput, match=rf"evaluation\.json' {NEWER}"):
        run.evaluation()
    for version, sentence in (("2", NEWER), ("0", "format is 0, but must be"), ('"x"', "format is 'x', but must be")):
        run.settings_path.write_text(f"format = {version}\n[new]\nkey = 1\n")
        with pytest.raises(BadInput, match=sentence):
            run.settings()
