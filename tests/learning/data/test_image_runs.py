"""End-to-end tests of training and comparing runs on image files that are laid out like published data sets."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metatui.config.declarations import Scalar
from metatui.config.fields import parse
from metatui.config.settings import Settings
from metatui.learning.data.cifar100 import cache
from metatui.learning.data.cifar100.classes import CLASSES, IMAGES, SPLITS
from metatui.learning.data.image_folder.scan import list_folder
from metatui.runs.analysis.comparison import compare
from metatui.runs.execution.session import Session
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils import paths
from tests.cifar_files import write_folder
from tests.folder_files import encode_image, names, pattern, write_classes

EACH = 4
"""Number of images in each class."""
MINI_IMAGENET = {"train": 64, "val": 16, "test": 20}


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "packed_folders_dir", lambda: tmp_path / "packs")
    monkeypatch.setattr(paths, "cifar100_cache", lambda: tmp_path / "cifar100.safetensors")
    for part in IMAGES:
        monkeypatch.setitem(IMAGES, part, EACH // 2)


def write_mini_imagenet(root: Path) -> Path:
    """Write CSV files like those of Ravi and Larochelle (2017) for 100 classes, and the images that they list."""
    (root / "images").mkdir(parents=True)
    labels = iter(f"n{number:08d}" for number in range(1440764, 1440764 + 100))
    for split, count in MINI_IMAGENET.items():
        with (root / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["filename", "label"])
            for label in (next(labels) for _ in range(count)):
                for copy in range(EACH):
                    filename = f"{label}{copy:08d}.jpg"
                    image = pattern(int(label[1:]), copy).resize((16, 16))
                    (root / "images" / filename).write_bytes(encode_image(image, "JPEG"))
                    rows.writerow([filename, label])
    return root


def mini_imagenet(root: Path) -> dict[str, Any]:
    return {"task": {"source": "folder", "folder": str(write_mini_imagenet(root)), "image_size": 16}}


def cifar(name: str) -> Callable[[Path], dict[str, Any]]:
    def build(root: Path) -> dict[str, Any]:
        cache.pack(write_folder(root, IMAGES))
        return {"task": {"source": name}}

    return build


def mixed(root: Path) -> dict[str, Any]:
    folders = [write_classes(root / name, names(18, name), EACH) for name in ("birds", "cars")]
    return {
        "task": {"source": "mixed", "image_size": 16, "image_mode": "grey"},
        "mixed": {"folders": ":".join(map(str, folders))},
    }


def settings_of(groups: dict[str, Any]) -> Settings:
    return parse(
        {
            **groups,
            "task": {**groups["task"], "ways": 3, "shots": 1, "queries": 3},
            "model": {"filters": 4},
            "algorithm": {"meta_batch": 2},
            "training": {"iterations": 2},
            "evaluation": {"every": 1, "tasks": 2, "test_tasks": 4, "inner_steps": 1},
            "compute": {"device": "cpu", "threads": 1, "engine": "batched"},
        }
    )


def train(settings: Settings, runs_dir: Path, **changes: Scalar) -> RunFolder:
    algorithm = settings.algorithm.model_copy(update=changes)
    session = Session.start(settings.model_copy(update={"algorithm": algorithm}), runs_dir=runs_dir)
    for _ in session:
        pass
    return session.run


@pytest.mark.parametrize(
    "build",
    [mini_imagenet, cifar("fc100"), cifar("cifar_fs"), mixed],
    ids=["mini-imagenet", "fc100", "cifar-fs", "mixed"],
)
def test_train_and_compare(tmp_path: Path, build: Callable[[Path], dict[str, Any]]) -> None:
    settings = settings_of(build(tmp_path / "data"))
    runs = [train(settings, tmp_path / "runs", name=name) for name in ("fomaml", "reptile")]
    comparison = compare(*runs)
    first, second = comparison.runs
    assert first.same_tasks == second.same_tasks
    assert comparison.protocol.source == settings.task.source
    for run in comparison.runs:
        assert run.evaluation.ways == 3
        assert run.evaluation.accuracy is not None
        assert not run.diverged


def test_published_lists_define_the_splits(tmp_path: Path) -> None:
    """Check the CSV files of miniImageNet and the text files of CIFAR-FS (Bertinetto et al. 2019)."""
    cifar_fs = tmp_path / "cifar100"
    for name in CLASSES:
        (cifar_fs / "data" / name).mkdir(parents=True)
        (cifar_fs / "data" / name / "0001.png").touch()
    (cifar_fs / "splits" / "bertinetto").mkdir(parents=True)
    for split, listed in SPLITS["cifar_fs"].items():
        (cifar_fs / "splits" / "bertinetto" / f"{split}.txt").write_text("".join(f"{name}\n" for name in listed))
    for root, sizes in (
        (write_mini_imagenet(tmp_path / "mini-imagenet"), MINI_IMAGENET),
        (cifar_fs, {"train": 64, "val": 16, "test": 20}),
    ):
        classes = list_folder(str(root)).classes
        assert {split: sum(each.split == split for each in classes) for split in sizes} == sizes
