"""Tests of the data source that takes each task from one of several image folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from metatui.cli.main import main
from metatui.config.fields import parse
from metatui.config.registry import DATA
from metatui.config.settings import Settings
from metatui.learning.data import random
from metatui.learning.data.episodes import SPLITS
from metatui.learning.data.image_folder.mixed import MixedSource
from metatui.utils import paths
from metatui.utils.errors import BadInput, SettingsError
from tests.folder_files import names, write_classes
from tests.learning.data.baselines import nearest_neighbour_accuracy

FOLDERS = ("birds", "cars", "dogs")


@pytest.fixture(autouse=True, scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("packs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "packed_folders_dir", lambda: folder)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create three folders with 20, 15 and 10 classes, and five images in each class."""
    root = tmp_path_factory.mktemp("images")
    for folder, count in zip(FOLDERS, (20, 15, 10), strict=True):
        write_classes(root / folder, names(count, folder), 5)
    return root


def settings_of(*folders: Path, **task: object) -> Settings:
    values = {"source": "mixed", "ways": 2, "shots": 1, "queries": 2, "image_size": 16, **task}
    return parse({"task": values, "mixed": {"folders": ":".join(map(str, folders))}})


def source_of(*folders: Path) -> MixedSource:
    source = DATA["mixed"].load(settings_of(*folders), torch.device("cpu"))
    assert isinstance(source, MixedSource)
    return source


@pytest.fixture(scope="module")
def source(root: Path) -> MixedSource:
    return source_of(*(root / folder for folder in FOLDERS))


def folder_of(source: MixedSource, split: str, task: int) -> str:
    return source.describe(split, task, seed=0, ways=2).split(": ")[0]  # type: ignore[arg-type]


def test_each_task_comes_from_one_folder(source: MixedSource) -> None:
    for task in range(20):
        folder, _, classes = source.describe("train", task, seed=3, ways=2).partition(": ")
        first, second = classes.split(", ")
        assert first != second
        assert first.startswith(folder)
        assert second.startswith(folder)


def test_folders_have_even_weights(source: MixedSource) -> None:
    many = 3000
    numbers = source.classes("train", range(many), seed=0, ways=2)[:, 0].tolist()
    counts = [sum(source.class_name("train", number).startswith(folder) for number in numbers) for folder in FOLDERS]
    assert sum(counts) == many
    assert all(abs(count - many / 3) < 5 * (many * 2 / 9) ** 0.5 for count in counts)


def test_tasks_do_not_depend_on_their_batch(source: MixedSource) -> None:
    together = source.episodes("val", range(12), seed=1, ways=2, shots=1, queries=2)
    for task in (7, 0, 11):
        alone = source.episodes("val", [task], seed=1, ways=2, shots=1, queries=2)
        assert torch.equal(alone.support_x[0], together.support_x[task])
        assert torch.equal(alone.query_x[0], together.query_x[task])
        assert torch.equal(alone.query_y[0], together.query_y[task])


def test_images_are_those_of_the_described_classes(source: MixedSource) -> None:
    episodes = source.episodes("train", range(30), seed=0, ways=2, shots=2, queries=2)
    assert nearest_neighbour_accuracy(episodes).mean() > 0.9
    (first,) = source.classes("train", [4], seed=0, ways=2)[:, :1]
    images = source.draw("train", first, random.keys(0, "test", torch.tensor([5])), 5)
    drawn = source.episodes("train", [4], seed=0, ways=2, shots=1, queries=2).query_x[0, 0]
    assert any(torch.equal(drawn, image) for image in images[0])


def test_splits_are_those_of_each_folder(source: MixedSource) -> None:
    seen: dict[str, set[str]] = {}
    for split in SPLITS:
        seen[split] = {source.class_name(split, number) for number in range(source.class_count(split))}
    assert len(set.union(*seen.values())) == sum(map(len, seen.values())) == 45
    assert "birds/birds00" in set.union(*seen.values())
    assert all(any(name.startswith(folder) for name in seen["test"]) for folder in FOLDERS)


def test_pooled_batch_shows_all_folders(source: MixedSource) -> None:
    images, labels = source.pooled_batch(0, seed=0, size=100)
    assert images.shape == (100, 3, 16, 16)
    assert {source.class_name("train", label).split("/")[0] for label in labels.tolist()} == set(FOLDERS)
    assert int(labels.max()) < source.pooled_classes == 29


def test_fingerprint_depends_on_each_folder(root: Path, source: MixedSource, tmp_path: Path) -> None:
    other = write_classes(tmp_path / "dogs", names(10, "dogs"), 6)
    prints = {source.fingerprint, source_of(root / "birds", root / "cars").fingerprint}
    prints.add(source_of(root / "birds", root / "cars", other).fingerprint)
    assert len(prints) == 3
    again = source_of(*(root / folder for folder in FOLDERS))
    assert again.fingerprint == source.fingerprint


def test_folders_of_equal_names_are_told_apart(root: Path, tmp_path: Path) -> None:
    other = write_classes(tmp_path / "birds", names(10, "b"), 5)
    source = source_of(root / "birds", other)
    described = {source.describe("train", task, seed=0, ways=2).split(": ")[0] for task in range(20)}
    assert described == {str(root / "birds"), str(other)}


@pytest.mark.parametrize("folders", ["", "/a", "/a:/a", "/a:/a/", "/a:", "/a:b", "a:/b"])
def test_bad_folder_lists_are_refused(folders: str) -> None:
    with pytest.raises(SettingsError, match=r"^mixed\.folders is .*, but must be absolute paths of"):
        parse({"task": {"source": "mixed"}, "mixed": {"folders": folders}})


def test_bad_folders_are_named(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "--set", "task.source=mixed", "--set", "task.shots=1", "--set", "task.queries=2"]
    missing = f"mixed.folders={root / 'birds'}:{tmp_path / 'nothing'}"
    assert main([*arguments, "--set", missing, "--runs-dir", str(tmp_path)]) == 2
    assert f"mixed.folders contains '{tmp_path / 'nothing'}', but there is no such folder" in capsys.readouterr().err
    with pytest.raises(BadInput, match=r"task\.ways is 3, but the 10 classes of '.*dogs'"):
        DATA["mixed"].load(settings_of(root / "birds", root / "dogs", ways=3), torch.device("cpu"))


def test_too_many_images_together_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metatui.learning.data.image_folder.cache.max_decoded_bytes", lambda: 100_000)
    with pytest.raises(BadInput) as refused:
        source_of(root / "birds", root / "dogs")  # 76,800 and 38,400 bytes
    both = f"'{root / 'birds'}' and '{root / 'dogs'}'"
    problem = f"the 150 images of {both} need 0.0 GB at 16x16 pixels, but may use at most 0.0 GB"
    assert str(refused.value).startswith(problem)
