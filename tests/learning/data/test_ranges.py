"""Tests of training with numbers of ways and shots that vary between meta-steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from metatui.config.constraints import violations
from metatui.config.fields import parse
from metatui.config.settings import Settings
from metatui.events import Progress, Stop
from metatui.learning.algorithm import Algorithm
from metatui.learning.data.episodes import Episodes, training_size
from metatui.learning.engines import autotune
from metatui.learning.engines.base import Engine
from metatui.learning.evaluation.evaluate import predictions
from metatui.learning.experiment import set_up
from metatui.learning.optim.inner import Params
from metatui.runs.analysis.comparison import compare
from metatui.runs.analysis.evaluate import evaluate
from metatui.runs.execution.session import Session
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import SettingsError
from tests.learning.data.table.tables import regressions

GLYPHS: dict[str, Any] = {
    "task": {"source": "glyphs", "ways": 3, "shots": 1, "queries": 2, "ways_range": "2-5", "shots_range": "1-3"},
    "model": {"filters": 2, "downsample": "stride"},
    "algorithm": {"meta_batch": 2},
    "training": {"iterations": 4},
    "evaluation": {"every": 2, "tasks": 2, "test_tasks": 3, "inner_steps": 1},
    "compute": {"device": "cpu", "threads": 1, "engine": "batched"},
}


def glyphs(**groups: dict[str, Any]) -> Settings:
    return parse({**GLYPHS, **{name: {**GLYPHS.get(name, {}), **values} for name, values in groups.items()}})


def test_sizes_are_uniform_and_depend_on_the_seed() -> None:
    settings, other = glyphs(), glyphs(training={"seed": 1})
    sizes = [training_size(settings, first) for first in range(2400)]
    counts = Counter(sizes)
    assert set(counts) == {(ways, shots) for ways in range(2, 6) for shots in range(1, 4)}
    assert all(abs(count - 200) < 5 * (200 * 11 / 12) ** 0.5 for count in counts.values())
    assert [training_size(settings, first) for first in range(50)] == sizes[:50]
    assert [training_size(other, first) for first in range(50)] != sizes[:50]


@pytest.mark.parametrize(("path", "limits"), [("ways_range", (3, 1)), ("shots_range", (3, 1))])
def test_other_size_stays_fixed(path: str, limits: tuple[int, int]) -> None:
    settings = glyphs(task={path: ""})
    sizes = {training_size(settings, first) for first in range(100)}
    fixed = 0 if path == "ways_range" else 1
    assert {size[fixed] for size in sizes} == {limits[fixed]}
    assert len(sizes) > 2


def test_meta_batches_have_the_drawn_size() -> None:
    experiment = set_up(glyphs())
    for first in range(0, 20, 2):
        ways, shots = training_size(experiment.settings, first)
        episodes = experiment.training_episodes(range(first, first + 2))
        assert episodes.support_x.shape[:2] == (2, ways * shots)
        assert episodes.query_x.shape[:2] == (2, ways * 2)
        assert episodes.query_y.max() == ways - 1
    held_out = experiment.episodes("test", [0], seed=0, shots=1)
    assert held_out.support_x.shape[1] == 3


def test_regression_tasks_vary_in_shots() -> None:
    experiment = set_up(parse({"task": {"shots_range": "2-6"}, "compute": {"device": "cpu", "engine": "loop"}}))
    sizes = {experiment.training_episodes(range(n, n + 4)).support_x.shape[1] for n in range(0, 80, 4)}
    assert sizes == {2, 3, 4, 5, 6}


@pytest.mark.parametrize(
    ("settings", "examples"),
    [
        (glyphs(task={"ways_range": "4-4", "shots_range": "2-2"}), 4 * 2),
        (glyphs(task={"ways_range": "4-4", "shots_range": ""}), 4),
        (parse({"task": {"shots_range": "5-5"}, "compute": {"device": "cpu", "engine": "loop"}}), 5),
    ],
)
def test_ranges_with_equal_ends_fix_the_size(settings: Settings, examples: int) -> None:
    assert not settings.training_size_varies
    experiment = set_up(settings)
    sizes = {experiment.training_episodes(range(n, n + 2)).support_x.shape[1] for n in range(0, 20, 2)}
    assert sizes == {examples}


@pytest.fixture
def measured_shapes(monkeypatch: pytest.MonkeyPatch) -> set[torch.Size]:
    """Simulate the measurements of engines, and return the set of the shapes of the support sets that they use."""
    shapes = set()

    def milliseconds(
        engine: Engine, algorithm: Algorithm, meta: Params, sample: Callable[[int], Episodes], *_: object, **__: object
    ) -> float:
        shapes.add(sample(2).support_x.shape[:2])
        return 1.0

    monkeypatch.setattr(autotune, "_milliseconds", milliseconds)
    return shapes


@pytest.mark.parametrize(
    ("task", "examples"),
    [
        ({"source": "glyphs", "ways": 3, "queries": 2, "ways_range": "2-5", "shots_range": "1-3"}, 5 * 3),
        ({"source": "glyphs", "ways": 3, "queries": 2, "ways_range": "2-5", "shots": 1}, 5),
        ({"source": "sinusoid", "shots_range": "2-6"}, 6),
    ],
)
def test_engines_are_measured_on_the_largest_tasks(
    task: dict[str, Any], examples: int, measured_shapes: set[torch.Size]
) -> None:
    set_up(parse({"task": task, "model": {"filters": 2}, "compute": {"device": "cpu"}}))
    assert measured_shapes == {(2, examples)}


def test_engine_is_chosen_for_a_table_with_rows_for_the_range_only(
    tmp_path: Path, measured_shapes: set[torch.Size]
) -> None:
    task = {"source": "table", "shots": 10, "shots_range": "1-5", "queries": 5}
    table = {"file": str(regressions(tmp_path / "table.csv", rows=12)), "task_column": "plant", "targets": "y0"}
    set_up(parse({"task": task, "table": table, "evaluation": {"shots": 5}, "compute": {"device": "cpu"}}))
    assert measured_shapes == {(2, 5)}


def run(settings: Settings, runs_dir: Path) -> Session:
    session = Session.start(settings, runs_dir=runs_dir)
    for _ in session:
        pass
    return session


@pytest.fixture(scope="module")
def maml(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(glyphs(training={"seed": 1}), tmp_path_factory.mktemp("runs")).run


@pytest.mark.parametrize("algorithm", ["maml", "reptile", "pretrained", "scratch", "proto_maml"])
def test_train_evaluate_and_compare(tmp_path: Path, algorithm: str, maml: RunFolder) -> None:
    runs = [run(glyphs(algorithm={"name": algorithm}), tmp_path).run, maml]
    comparison = compare(*runs, tasks=3)
    assert [each.evaluation.ways for each in comparison.runs] == [3, 3]
    assert comparison.runs[0].same_tasks == comparison.runs[1].same_tasks
    assert evaluate(runs[0], shots=4).shots == 4


def losses(session: Session) -> list[float]:
    return [event.meta_loss for event in session if isinstance(event, Progress)]


def test_resumed_run_repeats_the_sizes(tmp_path: Path) -> None:
    whole = losses(Session.start(glyphs(), runs_dir=tmp_path))
    assert len(set(whole)) == 4
    session = Session.start(glyphs(), runs_dir=tmp_path)
    begun = []
    for event in session:
        if isinstance(event, Progress):
            begun.append(event.meta_loss)
            if event.iteration == 2:
                session.submit(Stop())
    assert begun == whole[:2]
    assert losses(Session.resume(session.run)) == whole[2:]


@pytest.mark.parametrize("algorithm", ["protonet", "proto_maml"])
def test_prototypes_predict_only_classes_of_the_task(algorithm: str) -> None:
    settings = glyphs(task={"ways": 2, "ways_range": "2-9", "shots_range": ""}, algorithm={"name": algorithm})
    experiment = set_up(settings)
    episodes = experiment.episodes("test", range(5), seed=0, shots=1)
    *_, (_, outputs) = predictions(experiment, experiment.theta(), episodes, settings.evaluation.inner_steps)
    assert outputs.shape == (5, 4, 9)
    assert outputs.argmax(-1).max() < 2


@pytest.mark.parametrize("engine", ["unfolded", "loop", "native"])
def test_engines_agree(tmp_path: Path, engine: str) -> None:
    expected = losses(Session.start(glyphs(compute={"precision": "float64"}), runs_dir=tmp_path))
    changed = glyphs(compute={"precision": "float64", "engine": engine})
    assert losses(Session.start(changed, runs_dir=tmp_path)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("task", "field", "words"),
    [
        ({"ways_range": "7-3"}, "task.ways_range", "but must be empty, or a range within 2-100, such as 3-7"),
        ({"ways_range": "1-3"}, "task.ways_range", "but must be empty, or a range within 2-100, such as 3-7"),
        ({"ways_range": "3-101"}, "task.ways_range", "but must be empty, or a range within 2-100, such as 3-7"),
        ({"ways_range": "3"}, "task.ways_range", "but must be empty, or a range within 2-100, such as 3-7"),
        ({"ways_range": "3..7"}, "task.ways_range", "but must be empty, or a range within 2-100, such as 3-7"),
        ({"shots_range": "0-3"}, "task.shots_range", "but must be empty, or a range within 1-1,000"),
        ({"shots_range": "5-3"}, "task.shots_range", "but must be empty, or a range within 1-1,000"),
        ({"source": "omniglot", "shots_range": "1-19"}, "task.shots_range", "at most 18 if task.queries = 2"),
    ],
)
def test_bad_ranges_are_named(task: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        glyphs(task=task)
    (problem,) = caught.value.problems
    assert problem.field == field
    assert words in problem.sentence


def test_ranges_do_not_combine_with_fixed_sizes() -> None:
    reptile = {"name": "reptile", "train_shots": 3}
    assert [each.field for each in violations(Settings.model_validate({**GLYPHS, "algorithm": reptile}))] == [
        "task.shots_range"
    ]
    with pytest.raises(SettingsError, match=r"algorithm\.inner_batch is 3, but must be at most 2"):
        glyphs(algorithm={"name": "reptile", "inner_batch": 3})
    with pytest.raises(SettingsError, match=r"compute\.engine is 'compiled', but must be another engine"):
        parse({"task": {"shots_range": "1-3"}, "compute": {"engine": "compiled"}})
