"""Tests of CIFAR-100: reading its pickle files without executing their code, its class splits, and its tasks."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from metatui.cli.main import main
from metatui.config.constraints import violations
from metatui.config.fields import parse
from metatui.config.registry import DATA
from metatui.config.settings import Settings
from metatui.learning.data.cifar100 import cache
from metatui.learning.data.cifar100.classes import CLASSES, IMAGES, SPLITS, SUPERCLASSES
from metatui.learning.data.cifar100.files import read
from metatui.learning.data.cifar100.source import Cifar100Source
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError
from tests.cifar_files import archive_bytes, images, pickle_bytes, string, write_archive, write_folder
from tests.learning.data.baselines import nearest_neighbour_accuracy

SMALL = {"train": 3, "test": 2}


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for part, count in SMALL.items():
            patch.setitem(IMAGES, part, count)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("cifar"), SMALL)


@pytest.fixture(autouse=True)
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "data" / "cifar100.safetensors"
    monkeypatch.setattr(paths, "cifar100_cache", lambda: path)
    monkeypatch.setattr(paths, "downloads_dir", lambda: tmp_path / "downloads")
    return path


def test_class_splits() -> None:
    assert len(CLASSES) == len(set(CLASSES)) == 100
    assert (CLASSES[0], CLASSES[1], CLASSES[47], CLASSES[99]) == ("apple", "aquarium_fish", "maple_tree", "worm")
    for name, sizes in {"fc100": (60, 20, 20), "cifar_fs": (64, 16, 20)}.items():
        splits = SPLITS[name]
        assert tuple(map(len, splits.values())) == sizes
        assert sorted(each for split in splits.values() for each in split) == list(CLASSES)
        assert all(list(split) == sorted(split) for split in splits.values())
    superclass = {name: superclass for superclass, names in SUPERCLASSES.items() for name in names}
    held_out = {superclass[name] for name in SPLITS["fc100"]["test"]}
    assert held_out == {"aquatic_mammals", "insects", "medium_mammals", "people"}


def test_file_loads_as_torchvision_loads_it(root: Path) -> None:
    pixels, labels = images(SMALL["train"], "train")
    values = pickle.loads((root / "cifar-100-python" / "train").read_bytes(), encoding="latin1")
    assert np.array_equal(values["data"], pixels.reshape(-1, 3072))
    assert values["fine_labels"] == labels


def test_read_folder_and_archive(root: Path, tmp_path: Path) -> None:
    found = read(root)
    assert found.shape == (100, 5, 3, 32, 32)
    parts = [images(count, part) for part, count in SMALL.items()]
    for label in (0, 42, 99):
        expected = [
            image for pixels, labels in parts for image, fine in zip(pixels, labels, strict=True) if fine == label
        ]
        assert np.array_equal(found[label], expected)
    assert np.array_equal(read(write_archive(root, tmp_path / "archive")), found)


def test_nothing_in_a_file_is_executed(root: Path, tmp_path: Path) -> None:
    """Check that code in a pickle file is not executed.

    With `pickle.load`, the code would create a folder. The file contains the code followed by valid data, or only the
    code.
    """
    created = tmp_path / "created"
    attack = b"\x80\x02cos\nmkdir\n" + string(os.fsencode(created)) + b"\x85R0"
    shutil.copytree(root, tmp_path / "copy")
    file = tmp_path / "copy" / "cifar-100-python" / "test"
    file.write_bytes(attack + file.read_bytes()[2:])
    assert np.array_equal(read(tmp_path / "copy"), read(root))
    file.write_bytes(attack + b"N.")
    with pytest.raises(BadInput, match="has 0 fine labels"):
        read(tmp_path / "copy")
    assert not created.exists()
    pickle.loads(file.read_bytes())
    assert created.is_dir()


Damage = Callable[[Path], object]


def folder_file(change: Callable[[bytes], bytes]) -> Damage:
    return lambda root: (root / "test").write_bytes(change((root / "test").read_bytes()))


def archive_file(root: Path) -> Path:
    return root.parent / "cifar-100-python.tar.gz"


def relabelled(data: bytes) -> bytes:
    pixels, fine = images(SMALL["test"], "test")
    return pickle_bytes(pixels, fine[1:] + fine[:1], [0] * len(fine))


def unbalanced(data: bytes) -> bytes:
    pixels, fine = images(SMALL["test"], "test")
    return pickle_bytes(pixels, [fine[0], *fine[:-1]])


BAD: dict[str, tuple[Damage, str]] = {
    "no folder": (shutil.rmtree, "must contain cifar-100-python.tar.gz or the folder cifar-100-python, but"),
    "missing file": (lambda root: (root / "test").unlink(), "test': there is no such file"),
    "truncated": (folder_file(lambda data: data[:5000]), "test' is damaged: "),
    "empty": (folder_file(lambda data: b""), "test' is damaged: "),
    "not a pickle": (folder_file(lambda data: b"\xff" + data), "test' is damaged: "),
    "fewer images": (
        folder_file(lambda data: pickle_bytes(*images(1, "test"))),
        "has 100 fine labels, 100 coarse labels and 307,200 bytes of pixels, but must have 200 images of 3,072 bytes",
    ),
    "other labels": (folder_file(relabelled), "has labels that are not those of CIFAR-100"),
    "unbalanced": (folder_file(unbalanced), "does not have 2 images of each class"),
    "damaged archive": (
        lambda root: archive_file(root).write_bytes(b"\x1f\x8b torn"), ".tar.gz' is damaged: ",
    ),
    "incomplete archive": (
        lambda root: archive_file(root).write_bytes(archive_bytes({"cifar-100-python/train": b""})),
        ".tar.gz' is incomplete: it does not contain cifar-100-python/test",
    ),
    "link in the archive": (
        lambda root: archive_file(root).write_bytes(archive_bytes({"cifar-100-python/train": None})),
        ".tar.gz' is incomplete: it does not contain cifar-100-python/train",
    ),
    "crowded archive": (
        lambda root: archive_file(root).write_bytes(archive_bytes(dict.fromkeys("abcdefghijklmnopqr", b""))),
        "is not the published archive: it has too many files, or files that are too large",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), BAD.values(), ids=BAD)
def test_bad_files_are_refused(
    root: Path, tmp_path: Path, packed: Path, capsys: pytest.CaptureFixture[str], damage: Damage, message: str
) -> None:
    shutil.copytree(root, tmp_path / "copy")
    damage(tmp_path / "copy" / "cifar-100-python")
    assert main(["data", "cifar100", "--from", str(tmp_path / "copy")]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert not packed.exists()


def test_command_packs_once(
    root: Path, tmp_path: Path, packed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "download", lambda: root)
    assert main(["data", "cifar100", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["classes"], report["images"], report["packed_now"]) == (100, 500, True)
    assert report["file"] == str(packed)
    assert report["sha256"] == cache.load()[1]
    written = packed.stat().st_mtime_ns
    assert main(["data", "cifar100"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Already packed (use --force to pack again): {packed}\n100 classes, 500 images\n")
    assert packed.stat().st_mtime_ns == written
    packed.write_bytes(b"torn")
    assert main(["data", "cifar100", "--from", str(root)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Packed in ")
    assert "run `metatui data cifar100` to create it again" in err


def test_failed_download_suggests_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(cache, "torchvision_datasets", fails)
    with pytest.raises(MetatuiError, match=r"no route to host.*`metatui data cifar100 --from FOLDER`"):
        cache.download()


@pytest.mark.parametrize("name", ["fc100", "cifar_fs"])
def test_tasks_show_the_classes_of_their_split(root: Path, name: str) -> None:
    cache.pack(root)
    settings = Settings(task={"source": name})  # type: ignore[arg-type]
    source = DATA[name].load(settings, torch.device("cpu"))
    assert isinstance(source, Cifar100Source)
    assert source.input_shape == (3, 32, 32)
    pixels = torch.from_numpy(read(root))
    for split, classes in SPLITS[name].items():
        assert source.class_count(split) == len(classes)  # type: ignore[arg-type]
        episodes = source.episodes(split, [3], seed=1, ways=5, shots=2, queries=3)  # type: ignore[arg-type]
        assert nearest_neighbour_accuracy(episodes).item() > 0.9
        described = source.describe(split, 3, seed=1, ways=5).replace(" ", "_").split(",_")  # type: ignore[arg-type]
        assert set(described) <= set(classes)
        label = CLASSES.index(described[0])
        shown = (episodes.query_x[0, 0] * 255).round().to(torch.uint8)
        assert any(torch.equal(shown, image) for image in pixels[label])


def test_missing_data_name_the_command() -> None:
    with pytest.raises(BadInput, match=r"CIFAR-100 is not on this machine yet .*: run `metatui data cifar100`"):
        Cifar100Source("fc100", device="cpu")


def test_impossible_episodes_are_refused_early() -> None:
    task = {"source": "cifar_fs", "ways": 17, "shots": 4, "queries": 2}
    problems = violations(Settings(task=task))  # type: ignore[arg-type]
    assert [problem.sentence for problem in problems] == [
        "task.shots is 4, but must be at most 3 if task.queries = 2, because a class of CIFAR-100 has only 5 images",
        "task.ways is 17, but must be at most 16, the number of classes in the smallest of train, val and test",
    ]
    assert parse({"task": {"source": "cifar_fs", "ways": 16, "shots": 3, "queries": 2}}).is_classification


@pytest.mark.skipif("METATUI_CIFAR100_SOURCE" not in os.environ, reason="the real CIFAR-100 is not available")
def test_real_cifar100(monkeypatch: pytest.MonkeyPatch) -> None:
    for part, count in {"train": 500, "test": 100}.items():
        monkeypatch.setitem(IMAGES, part, count)
    assert read(Path(os.environ["METATUI_CIFAR100_SOURCE"])).shape == (100, 600, 3, 32, 32)
