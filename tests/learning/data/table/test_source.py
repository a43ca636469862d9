"""Tests of the tasks in a table: episodes, splits, standardisation and fingerprints."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from metatui.learning.data.episodes import SPLITS, Split
from metatui.learning.data.sources.table import TableOptions
from metatui.learning.data.table import source as source_module
from metatui.learning.data.table.reader import TableData, read_table
from metatui.learning.data.table.source import TableSource, split_tasks
from metatui.utils.errors import BadInput, SettingsError
from tests.learning.data.table.tables import regressions, table_text


def source_of(
    path: Path,
    *,
    shots: int = 4,
    queries: int = 3,
    seed: int = 0,
    **options: str | float,
) -> TableSource:
    """Create the task source for a table whose first column identifies the task."""
    column = path.read_text().replace(";", ",").split(",", 1)[0]
    chosen = TableOptions(file=str(path), task_column=column, **options)  # type: ignore[arg-type]
    table = read_table(chosen)
    splits = split_tasks(table, chosen, seed)
    largest = dict.fromkeys(SPLITS, ("task.shots", shots))
    return TableSource(table, splits, shots=largest, queries=queries)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return regressions(tmp_path_factory.mktemp("tables") / "plants.csv", inputs=2, targets=2)


@pytest.fixture(scope="module")
def source(path: Path) -> TableSource:
    return source_of(path, targets="y0,y1")


def rows_of(table: TableData, task: str) -> set[tuple[float, ...]]:
    """Return the rows of a task, rounded to two decimals.

    Rounding is necessary to compare them with rows that have been standardised in float32 and converted back.
    """
    first = int(table.counts[: table.tasks.index(task)].sum())
    rows = slice(first, first + int(table.counts[table.tasks.index(task)]))
    return {tuple(np.round(row, 2)) for row in np.hstack([table.x[rows], table.y[rows]]).tolist()}


@pytest.mark.parametrize("split", SPLITS)
def test_episodes_have_rows_of_one_task(source: TableSource, split: Split) -> None:
    tasks = [5, 0, 17, 5]
    episodes = source.episodes(split, tasks, seed=1, shots=4, queries=3)
    assert episodes.support_x.shape == (4, 4, 2)
    assert episodes.query_y.shape == (4, 3, 2)
    assert episodes.support_x.dtype == torch.float32
    x = source.inputs_in_units(torch.cat([episodes.support_x, episodes.query_x], 1))
    y = source.targets_in_units(torch.cat([episodes.support_y, episodes.query_y], 1))
    for t, task in enumerate(tasks):
        drawn = [tuple(np.round(row, 2)) for row in torch.cat([x[t], y[t]], 1).tolist()]
        assert len(set(drawn)) == 7  # support and query are disjoint
        assert set(drawn) <= rows_of(source.table, source.describe(split, task, seed=1))
    assert torch.equal(episodes.support_x[0], episodes.support_x[3])


def test_tasks_depend_on_seed_split_and_number_alone(source: TableSource) -> None:
    together = source.episodes("train", range(60), seed=3, shots=4, queries=3)
    alone = source.episodes("train", [41], seed=3, shots=4, queries=3)
    assert torch.equal(alone.query_x[0], together.query_x[41])
    other = source.episodes("train", range(60), seed=4, shots=4, queries=3)
    assert not torch.equal(other.query_x, together.query_x)


def test_more_shots_only_add_support(source: TableSource) -> None:
    few, many = (source.episodes("test", range(9), seed=0, shots=shots, queries=3) for shots in (2, 6))
    assert torch.equal(few.query_x, many.query_x)
    assert torch.equal(few.support_y, many.support_y[:, :2])


def test_shuffling_in_parts_gives_the_same_rows(source: TableSource, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = source.episodes("train", range(30), seed=0, shots=4, queries=3)
    monkeypatch.setattr(source_module, "_SHUFFLED", 50)
    parts = source.episodes("train", range(30), seed=0, shots=4, queries=3)
    assert torch.equal(whole.support_x, parts.support_x)


def test_task_numbers_cover_all_tasks_evenly(source: TableSource) -> None:
    assert [source.task_count(split) for split in SPLITS] == [26, 6, 8]
    counts = Counter(source.describe("test", task, seed=0) for task in range(24))
    assert set(counts.values()) == {3}
    names = {split: {source.describe(split, task, seed=0) for task in range(26)} for split in SPLITS}
    assert [len(names[split]) for split in SPLITS] == [26, 6, 8]
    assert len(set.union(*names.values())) == 40


def test_training_rows_are_standardised(source: TableSource) -> None:
    x, y = source.pooled_batch(0, seed=0, size=20_000)
    for values in (x, y):
        assert values.shape == (20_000, 2)
        assert values.mean(0).abs().max() < 0.05
        assert (values.std(0) - 1).abs().max() < 0.05
    again, _ = source.pooled_batch(0, seed=0, size=20_000)
    assert torch.equal(x, again)
    assert not torch.equal(x, source.pooled_batch(1, seed=0, size=20_000)[0])


def test_held_out_rows_do_not_affect_standardisation(path: Path, source: TableSource, tmp_path: Path) -> None:
    held_out = source.describe("test", 0, seed=0)
    changed = tmp_path / "changed.csv"
    lines = path.read_text().splitlines()
    changed.write_text("\n".join(f"{line}9" if line.startswith(held_out) else line for line in lines))
    other = source_of(changed, targets="y0,y1")
    assert torch.equal(source.x_mean, other.x_mean)
    assert torch.equal(source.y_scale, other.y_scale)
    assert source.fingerprint != other.fingerprint


def test_constant_columns_are_only_shifted(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(table_text([f"{t},0.1,{r},0.3" for t in range(5) for r in range(4)], "task,a,b,y"))
    source = source_of(path, shots=2, queries=2, targets="y")
    episodes = source.episodes("test", [0], seed=0, shots=2, queries=2)
    assert (episodes.support_x[..., 0] == 0).all()
    assert (episodes.query_y == 0).all()
    assert set(source.targets_in_units(episodes.query_y).flatten().tolist()) == {0.3}
    assert (source.x_scale[0].item(), source.y_scale[0].item()) == (1, 1)


def test_tasks_with_too_few_rows_are_left_out(tmp_path: Path) -> None:
    rows = [f"{t},{r},{t + r}" for t in range(20) for r in range(3 if t % 4 == 0 else 10)]
    path = tmp_path / "table.csv"
    path.write_bytes(table_text(rows))
    source = source_of(path, shots=2, queries=3, targets="y")
    (notice,) = source.notices
    assert notice == (
        f"5 of 20 tasks of '{path}' are left out, because they have fewer rows than shots and queries together (5): "
        f"{notice.split('(5): ')[1]}"
    )
    assert notice.endswith(" (3) and 2 more")
    drawn = {source.describe(split, task, seed=0) for split in SPLITS for task in range(20)}
    assert drawn == {str(t) for t in range(20) if t % 4}
    # Fewer shots bring these tasks back, but move no task to another split.
    larger = source_of(path, shots=1, queries=2, targets="y")
    for split in SPLITS:
        names = {source.describe(split, task, seed=0) for task in range(20)}
        assert names <= {larger.describe(split, task, seed=0) for task in range(20)}
    assert source.fingerprint == larger.fingerprint
    with pytest.raises(
        BadInput, match=r"the number of shots is 9 and task.queries is 3, but their sum must be at most 10, the num"
    ):
        source.episodes("test", [0], seed=0, shots=9, queries=3)


@pytest.mark.parametrize("split", SPLITS)
def test_no_task_has_enough_rows(tmp_path: Path, split: Split) -> None:
    path = tmp_path / "table.csv"
    rows = [f"{t},{name},{r},1" for t, name in enumerate(SPLITS) for r in range(5 if name == split else 9)]
    path.write_bytes(table_text(rows, "task,fold,x,y"))
    word = {"train": "training", "val": "validation", "test": "test"}[split]
    with pytest.raises(SettingsError) as error:
        source_of(path, shots=4, queries=3, targets="y", split_column="fold")
    assert str(error.value) == (
        f"task.shots is 4 and task.queries is 3, but their sum must be at most 5, the largest number of rows of a "
        f"{word} task in '{path}'"
    )


def test_split_column_decides(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    rows = [f"{t},{'test' if t < 3 else 'train'},{r},{t}" for t in range(13) for r in range(4)]
    path.write_bytes(table_text(rows, "task,fold,x,y"))
    sources = [
        source_of(path, shots=2, queries=2, targets="y", split_column="fold", val_fraction=0.2, seed=seed)
        for seed in (0, 1)
    ]
    for source in sources:
        assert [source.task_count(split) for split in SPLITS] == [8, 2, 3]
        assert {source.describe("test", task, seed=0) for task in range(3)} == {"0", "1", "2"}
    assert sources[0].fingerprint != sources[1].fingerprint  # other validation tasks


@pytest.mark.parametrize(("tasks", "sizes"), [(3, [1, 1, 1]), (4, [2, 1, 1]), (10, [6, 2, 2]), (100, [64, 16, 20])])
def test_sizes_of_random_splits(tmp_path: Path, tasks: int, sizes: list[int]) -> None:
    path = regressions(tmp_path / "table.csv", tasks=tasks, rows=7)
    source = source_of(path, targets="y0")
    assert [source.task_count(split) for split in SPLITS] == sizes


def test_large_shares_leave_a_task_for_each_split(tmp_path: Path) -> None:
    path = regressions(tmp_path / "table.csv", tasks=4, rows=7)
    for shares, sizes in (((0.02, 0.88), [1, 1, 2]), ((0.88, 0.02), [1, 2, 1])):
        source = source_of(path, targets="y0", val_fraction=shares[0], test_fraction=shares[1])
        assert [source.task_count(split) for split in SPLITS] == sizes


def test_columns_and_tasks_are_noted(path: Path, source: TableSource, tmp_path: Path) -> None:
    contents, units = source.notes
    assert contents == f"'{path}' has inputs: x0, x1; targets: y0, y1; tasks: 26 training, 6 validation, 8 test"
    assert units.startswith("Losses are mean squared errors")
    wide = tmp_path / "wide.csv"
    columns = [f"x{n}" for n in range(12)]
    rows = [
        ",".join([str(task), "text", *"0123456789ab".replace("a", "1").replace("b", "2"), "5"]) for task in range(9)
    ]
    wide.write_bytes(table_text([row for row in rows for _ in range(7)], ",".join(["task", "site", *columns, "y"])))
    contents, _ = source_of(wide, inputs=",".join(columns[:10]), targets="y").notes
    assert (
        "has inputs: x0, x1, x2, x3, x4, x5, x6, x7 and 2 more; targets: y; ignored columns: site, x10, x11;"
        in contents
    )


def test_fingerprint(path: Path, source: TableSource, tmp_path: Path) -> None:
    copy = tmp_path / "copy.csv"
    header, *lines = path.read_text().replace(",", ";").splitlines()
    copy.write_text("\n".join([header, *sorted(lines, key=lambda line: line.split(";")[0], reverse=True)]))
    assert source_of(copy.rename(tmp_path / "renamed.csv"), targets="y0,y1").fingerprint == source.fingerprint
    assert source_of(path, targets="y1,y0").fingerprint != source.fingerprint
    assert source_of(path, targets="y0,y1", seed=1).fingerprint != source.fingerprint


@pytest.mark.parametrize(("targets", "more"), [(3, ""), (4, ", …")])
def test_units_of_the_first_targets_are_noted(targets: int, more: str, tmp_path: Path) -> None:
    names = [f"y{number}" for number in range(targets)]
    source = source_of(regressions(tmp_path / "plants.csv", targets=targets), targets=",".join(names))
    units = ", ".join(f"{source.y_scale[i].item():.3g} for y{i}" for i in range(3))
    assert source.notes[1].endswith(f" in the training rows: {units}{more}")
