"""Tests of an image folder's tasks and fingerprint, and of training on it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from metatui.cli.main import main
from metatui.config.declarations import Scalar
from metatui.config.fields import change, parse
from metatui.config.settings import Settings
from metatui.events import Evaluated, Finished, ImageView, Progress, Warned
from metatui.learning.data import random
from metatui.learning.data.episodes import SPLITS, Split
from metatui.learning.data.image_folder.source import FolderSource, load_folder
from metatui.learning.data.image_source import permutation_prefix
from metatui.learning.engines.base import meta_parameters
from metatui.learning.evaluation.task_views import task_views
from metatui.learning.experiment import set_up
from metatui.learning.training.trainer_state import TrainerState, check_data
from metatui.runs.analysis.comparison import compare
from metatui.runs.analysis.evaluate import evaluate, views
from metatui.runs.analysis.report.content import report
from metatui.runs.execution.session import Session
from metatui.utils import paths
from metatui.utils.errors import BadInput
from tests.folder_files import names, write_class
from tests.learning.data.baselines import nearest_neighbour_accuracy

SIZES = [6, 9, 7, 6, 12, 8] * 5
"""Number of images in each of 30 classes, of which 19 are used for training, 5 for validation and 6 for test."""


@pytest.fixture(autouse=True, scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("packs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "packed_folders_dir", lambda: folder)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for number, (name, size) in enumerate(zip(names(30), SIZES, strict=True)):
        write_class(root / name, number, size)
    return root


def settings_for(root: Path, **changes: Scalar) -> Settings:
    """Return settings for a run of three meta-steps on the image folder `root`.

    A keyword argument such as `task__shots` changes a setting.
    """
    base = parse(
        {
            "task": {"source": "folder", "folder": str(root), "ways": 5, "shots": 2, "queries": 3, "image_size": 16},
            "model": {"filters": 8},
            "algorithm": {"inner_lr": 0.4, "meta_batch": 2},
            "training": {"iterations": 3},
            "evaluation": {"every": 2, "tasks": 4, "test_tasks": 6, "inner_steps": 2},
            "compute": {"device": "cpu"},
        }
    )
    return change(base, {name.replace("__", "."): value for name, value in changes.items()})


def source_of(root: Path, **changes: Scalar) -> FolderSource:
    return load_folder(settings_for(root, **changes), "cpu")


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 2**31), st.data())
def test_shuffles_are_distinct_and_keep_their_beginning(sizes: list[int], seed: int, data: st.DataObject) -> None:
    keys = random.keys(seed, "test", torch.arange(len(sizes)))
    count = data.draw(st.integers(0, min(sizes)))
    found = permutation_prefix(keys, count, torch.tensor(sizes))
    assert found.shape == (len(sizes), count)
    for row, size in zip(found.tolist(), sizes, strict=True):
        assert len(set(row)) == count
        assert all(0 <= number < size for number in row)
    assert torch.equal(found, permutation_prefix(keys, min(sizes), torch.tensor(sizes))[:, :count])


def test_shuffles_are_uniform_in_every_position() -> None:
    many, among = 40_000, 7
    found = permutation_prefix(random.keys(0, "test", torch.arange(many)), 4, torch.full((many,), among))
    share = torch.nn.functional.one_hot(found, among).double().mean(0)
    sd = (1 / among * (1 - 1 / among) / many) ** 0.5
    assert (share - 1 / among).abs().max() < 5 * sd


@pytest.mark.parametrize(("mode", "channels"), [("rgb", 3), ("grey", 1)])
def test_episode_shapes(root: Path, mode: str, channels: int) -> None:
    source = source_of(root, task__image_mode=mode)
    assert source.input_shape == (channels, 16, 16)
    episodes = source.episodes("train", [4, 2, 9], seed=1, ways=5, shots=2, queries=3)
    assert episodes.support_x.shape == (3, 10, channels, 16, 16)
    assert episodes.query_x.shape == (3, 15, channels, 16, 16)
    assert episodes.support_x.dtype == torch.float32
    assert 0 <= episodes.support_x.min() < 0.1
    assert 0.9 < episodes.support_x.max() <= 1
    assert episodes.support_y[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_tasks_do_not_depend_on_their_batch(root: Path) -> None:
    source, again = source_of(root), source_of(root)
    together = source.episodes("test", range(10), seed=3, ways=4, shots=2, queries=3)
    for task in (7, 0, 3):
        alone = again.episodes("test", [task], seed=3, ways=4, shots=2, queries=3)
        assert torch.equal(alone.support_x[0], together.support_x[task])
        assert torch.equal(alone.query_x[0], together.query_x[task])
    other = source.episodes("test", range(10), seed=4, ways=4, shots=2, queries=3)
    assert not torch.equal(other.query_x, together.query_x)


def test_more_shots_only_add_support(root: Path) -> None:
    source = source_of(root)
    few = source.episodes("val", range(5), seed=0, ways=5, shots=1, queries=3)
    more = source.episodes("val", range(5), seed=0, ways=5, shots=3, queries=3)
    assert torch.equal(few.query_x, more.query_x)
    assert torch.equal(few.support_x, more.support_x[:, ::3])


def test_support_and_query_are_disjoint(root: Path) -> None:
    episodes = source_of(root).episodes("train", range(30), seed=0, ways=5, shots=3, queries=3)
    for task in range(30):
        images = torch.cat([episodes.support_x[task], episodes.query_x[task]])
        assert len(torch.unique(images, dim=0)) == 30


def test_labels_match_the_images(root: Path) -> None:
    """Check the labels with a nearest-neighbour classifier, which is nearly perfect on these simple patterns."""
    episodes = source_of(root).episodes("train", range(20), seed=0, ways=5, shots=3, queries=3)
    assert nearest_neighbour_accuracy(episodes).mean() > 0.95


def shown_classes(source: FolderSource, split: Split) -> set[str]:
    return {source.class_name(split, number) for number in range(source.class_count(split))}


def test_splits_partition_the_classes(root: Path) -> None:
    source = source_of(root)
    shown = [shown_classes(source, split) for split in SPLITS]
    assert [len(each) for each in shown] == [19, 5, 6]
    assert set.union(*shown) == set(names(30))
    other = source_of(root, task__split_seed=1)
    assert shown_classes(other, "test") != shown[2]


def test_split_shows_only_its_classes(root: Path) -> None:
    source = source_of(root)
    images = {}
    for split in SPLITS:
        classes = torch.arange(source.class_count(split))
        images[split] = source.draw(split, classes, classes, 6)
    flat = torch.cat([images[split].flatten(0, 1) for split in SPLITS])
    assert len(torch.unique(flat, dim=0)) == 30 * 6


def test_description_names_the_classes(root: Path) -> None:
    said = source_of(root).describe("val", 0, seed=0, ways=5).split(", ")
    assert set(said) == shown_classes(source_of(root), "val")


def test_pooled_batches_show_training_classes(root: Path) -> None:
    source = source_of(root)
    x, y = source.pooled_batch(3, seed=0, size=400)
    assert x.shape == (400, 3, 16, 16)
    assert set(y.tolist()) == set(range(19))
    means = source.draw("train", torch.arange(19), torch.arange(19), 6).mean(1)
    assert (torch.cdist(x.flatten(1), means.flatten(1)).argmin(1) == y).float().mean() > 0.95


def test_too_many_shots_are_refused(root: Path) -> None:
    with pytest.raises(BadInput, match=r"task.shots is 5 and task.queries is 3, .*'class09' \(6\)"):
        source_of(root).episodes("train", [0], seed=0, ways=5, shots=5, queries=3)


def test_fingerprint_depends_on_what_determines_tasks(root: Path, tmp_path: Path) -> None:
    before = source_of(root).fingerprint
    copy = Path(shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copy))
    assert source_of(copy).fingerprint == before
    fingerprints = {before, source_of(root, task__split_seed=1).fingerprint}
    (copy / "class04" / "000.png").unlink()
    fingerprints.add(source_of(copy).fingerprint)
    write_class(copy / "class31", 31, 6)
    fingerprints.add(source_of(copy).fingerprint)
    assert len(fingerprints) == 4


def test_equal_pixels_have_the_same_fingerprint(root: Path, tmp_path: Path) -> None:
    """Check that the fingerprint ignores file formats, modification times, and new file names that keep the order."""
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    for file in (copy / "class03").iterdir():
        Image.open(file).save(file.with_name(f"z{file.stem}.PNG"), compress_level=1)
        file.unlink()
    os.utime(copy / "class04" / "000.png", (0, 0))
    assert source_of(copy).fingerprint == source_of(root).fingerprint
    assert source_of(copy).former_fingerprints != source_of(root).former_fingerprints


def test_fingerprint_depends_on_image_order(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    first, second = sorted((copy / "class03").iterdir())[:2]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert source_of(copy).fingerprint != source_of(root).fingerprint


@pytest.mark.parametrize("replaced", ["all", "one"])
def test_replaced_pixels_are_refused(root: Path, tmp_path: Path, replaced: str) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    session = Session.start(settings_for(copy), runs_dir=tmp_path / "runs")
    for event in session:
        if isinstance(event, Progress):
            session.interrupt()
    files = sorted(copy.glob("*/*.*"))
    for file in files if replaced == "all" else files[7:8]:
        inverted = Image.eval(Image.open(file), lambda value: 255 - value)
        inverted.save(file)
    for refused in (lambda: evaluate(session.run), lambda: Session.resume(session.run)):
        with pytest.raises(BadInput, match="its classes or images are no longer those of the run"):
            refused()


def test_old_runs_are_compared_by_file_names(root: Path) -> None:
    experiment = set_up(settings_for(root))
    names_alone = experiment.source.former_fingerprints[0]
    assert len(names_alone) == 64
    check_data(experiment, TrainerState({}, {"data": names_alone}))
    check_data(experiment, TrainerState({}, {}))
    with pytest.raises(BadInput):
        check_data(experiment, TrainerState({}, {"data": names_alone[::-1]}))


def test_empty_class_folder_is_left_out(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    (copy / "empty").mkdir()
    (copy / "notes").mkdir()
    (copy / "notes" / "read.txt").write_text("x")
    source = source_of(copy, task__ways=4)
    assert source.fingerprint == source_of(root).fingerprint
    (notice,) = source.notices
    assert "empty has no PNG or JPEG images" in notice
    assert "notes has no PNG or JPEG images" in notice


def test_images_in_several_classes_are_reported(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    splits = {split: [source_of(root).class_name(split, n) for n in range(2)] for split in SPLITS}
    (train, other), (test, _) = splits["train"], splits["test"]
    images = sorted((copy / train).iterdir())
    shutil.copy(images[0], copy / train / f"zz{images[0].suffix}")  # twice in one class is allowed
    assert source_of(copy, task__ways=4).notices == ()
    shutil.copy(images[1], copy / other / "zz.png")
    (notice,) = source_of(copy, task__ways=4).notices
    assert notice.startswith(f"1 image is in several classes of a split ({train}/{images[1].name} and {other}/zz.png)")
    for n in range(3):
        shutil.copy(images[n + 2], copy / test / f"zz{n}.png")
    leak, notice = source_of(copy, task__ways=4).notices
    assert leak.startswith("3 images are in several splits (for example, ")
    assert f"{train}/{images[2].name}" in leak
    assert f"{test}/zz0.png" in leak
    assert "several classes" in notice


def test_few_held_out_classes_are_reported(root: Path) -> None:
    validation, test = set_up(settings_for(root, evaluation__test_tasks=7)).notices
    assert validation == (
        "the 4 validation tasks are drawn from only 5 classes: 95 % intervals and p-values apply to new tasks of these "
        "classes, not to new classes"
    )
    assert test == (
        "the 7 test tasks are drawn from only 6 classes, which form 6 different sets of 5 classes: 95 % intervals and "
        "p-values apply to new tasks of these classes, not to new classes"
    )
    enough = settings_for(root, task__ways=4, evaluation__tasks=5, evaluation__test_tasks=15)
    assert set_up(enough).notices == ()


def test_results_on_few_classes_say_so(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        Session.start(settings_for(root, evaluation__test_tasks=7, training__seed=seed), runs_dir=tmp_path)
        for seed in range(2)
    ]
    for session in runs:
        list(session)
    text = (
        "the 7 test tasks are drawn from only 6 classes, which form 6 different sets of 5 classes: 95 % intervals and "
        "p-values apply to new tasks of these classes, not to new classes"
    )
    evaluation = ["evaluate", runs[0].run.id, "--runs-dir", str(tmp_path)]
    assert main(evaluation) == 0
    assert f"warning: {text}\n" in capsys.readouterr().out
    assert main([*evaluation, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["caveat"] == text
    comparison = compare(*(session.run for session in runs))
    assert text in comparison.warnings
    assert text in report(comparison).warnings
    assert text in compare(runs[0].run, reuse_test=True).warnings
    assert not compare(runs[0].run, tasks=6).warnings


def test_left_out_files_are_reported(root: Path, tmp_path: Path) -> None:
    assert source_of(root, task__ways=4).notices == ()
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    for number in range(3):
        (copy / "class04" / f"notes{number}.txt").write_text("x")
    (copy / "class05" / "damaged.png").write_bytes(b"\x89PNG")
    (notice,) = source_of(copy, task__ways=4).notices
    assert notice.startswith(
        f"4 files or folders left out of '{copy}': class04/notes0.txt does not end in .png, .jpg or .jpeg; class04/"
    )
    assert notice.endswith(f"; … (metatui data folder '{copy}' lists all of them)")


@pytest.mark.parametrize("name", ["maml", "fomaml", "reptile", "pretrained", "scratch"])
def test_training_on_colour_images(root: Path, tmp_path: Path, name: str) -> None:
    session = Session.start(settings_for(root, algorithm__name=name, task__image_size=32), runs_dir=tmp_path)
    events = list(session)
    assert sum(isinstance(event, Progress) for event in events) == (0 if name == "scratch" else 3)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.test is not None
    assert finished.test.accuracy is not None
    assert finished.test.tasks == 6
    assert all(isinstance(view, ImageView) and len(view.query[0]) == 32 * 32 * 3 for view in finished.views)
    again = evaluate(session.run, split="test")
    assert again.accuracy == finished.test.accuracy
    assert [view.task for view in views(session.run, [3, 1])] == [3, 1]
    assert any(isinstance(event, Evaluated) for event in events)


def test_views_of_large_images_are_small(root: Path, tmp_path: Path) -> None:
    settings = settings_for(root, task__image_size=96, training__iterations=1, model__filters=2)
    finished = list(Session.start(settings, runs_dir=tmp_path))[-1]
    assert isinstance(finished, Finished)
    view = finished.views[0]
    assert isinstance(view, ImageView)
    assert (view.height, view.width, view.channels) == (32, 32, 3)
    assert {len(picture) for picture in (*view.support, *view.query)} == {32 * 32 * 3}


@pytest.mark.parametrize("mode", ["rgb", "grey"])
def test_views_have_the_colours_of_their_images(root: Path, mode: str) -> None:
    settings = settings_for(root, task__image_mode=mode)
    experiment = set_up(settings)
    theta = experiment.algorithm.meta_parameters(meta_parameters(experiment.model), experiment.source)
    (view,) = task_views(experiment, theta, split="test", tasks=[2], steps=1, shots=2)
    assert isinstance(view, ImageView)
    images = experiment.episodes("test", [2], seed=settings.evaluation.seed, shots=2).support_x[0]
    assert view.channels == len(images[0])
    assert ", ".join(view.classes) == view.title
    assert len(view.classes) == settings.task.ways
    expected = (255 * images).round().to(torch.uint8).movedim(1, -1)
    assert [list(image) for image in view.support] == [image.flatten().tolist() for image in expected]


def test_colour_patterns_are_learned(root: Path, tmp_path: Path) -> None:
    settings = settings_for(root, training__iterations=25, algorithm__outer_lr=0.01, evaluation__every=0)
    finished = list(Session.start(settings, runs_dir=tmp_path))[-1]
    assert isinstance(finished, Finished)
    assert finished.test is not None
    assert finished.test.accuracy is not None
    assert finished.test.accuracy.mean[-1] > 0.6  # chance is 0.2


def test_run_warns_about_left_out_files(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    (copy / "class04" / "damaged.png").write_bytes(b"\x89PNG")
    session = Session.start(settings_for(copy, task__ways=4), runs_dir=tmp_path / "runs")
    warnings = [event.text for event in session if isinstance(event, Warned)]
    assert warnings == [f"1 file or folder left out of '{copy}': class04/damaged.png is damaged near its start"]
    assert warnings[0] in [entry.details.get("text") for entry in session.run.journal()]


def test_run_of_a_changed_folder_is_refused(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    session = Session.start(settings_for(copy, training__iterations=100), runs_dir=tmp_path / "runs")
    for event in session:
        if isinstance(event, Progress):
            session.interrupt()
    evaluate(session.run)
    write_class(copy / "class31", 31, 9)  # changes the split of all classes
    for use in (evaluate, Session.resume):
        with pytest.raises(BadInput, match=r"its classes or images are no longer those of the run"):
            use(session.run)
    shutil.rmtree(copy / "class31")
    again = Session.resume(session.run)
    again.interrupt()
    assert isinstance(list(again)[-1], Finished)
