"""Tests of error messages about image folders that cannot be used.

Each message is one sentence that names the setting and its value, and says what is allowed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from metatui.cli.main import main
from metatui.learning.data.image_folder import cache, scan
from metatui.utils import paths
from tests.folder_files import encode_image, names, pattern, write_class, write_classes

MANY = names(30)
"""Names of enough classes for a random split into training, validation and test classes."""

Sets = list[str]
Build = Callable[[Path, pytest.MonkeyPatch], Sets | None]
"""Function that creates an unusable folder and returns additional arguments for `--set`, or None."""


def nothing(root: Path, patch: pytest.MonkeyPatch) -> None:
    pass


def a_file(root: Path, patch: pytest.MonkeyPatch) -> None:
    root.write_bytes(encode_image(pattern(1)))


def a_pipe(root: Path, patch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root)


def a_loop(root: Path, patch: pytest.MonkeyPatch) -> None:
    root.symlink_to(root)


def no_name(root: Path, patch: pytest.MonkeyPatch) -> Sets:
    return ["task.folder="]


def a_nul(root: Path, patch: pytest.MonkeyPatch) -> Sets:
    return ["task.folder=/a\0b"]


def unknown_home(root: Path, patch: pytest.MonkeyPatch) -> Sets:
    return ["task.folder=~nobody-of-this-name/images"]


def unreadable(root: Path, patch: pytest.MonkeyPatch) -> None:
    root.mkdir()
    real = os.scandir

    def scandir(path: object) -> object:
        if path == root:
            raise PermissionError(13, "Permission denied")
        return real(path)  # type: ignore[call-overload]

    patch.setattr(os, "scandir", scandir)


def empty(root: Path, patch: pytest.MonkeyPatch) -> None:
    root.mkdir()


def only_hidden(root: Path, patch: pytest.MonkeyPatch) -> None:
    write_classes(root, [".cat", ".dog"])


def no_class_folders(root: Path, patch: pytest.MonkeyPatch) -> None:
    write_class(root, 1, 10)


def empty_class_folders(root: Path, patch: pytest.MonkeyPatch) -> None:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)


def one_level_too_deep(root: Path, patch: pytest.MonkeyPatch) -> None:
    write_classes(root / "images", MANY)


def other_files(root: Path, patch: pytest.MonkeyPatch) -> None:
    for name in MANY:
        (root / name).mkdir(parents=True)
        (root / name / "picture.gif").write_bytes(b"GIF89a")


def links_out(root: Path, patch: pytest.MonkeyPatch) -> None:
    write_classes(root.parent / "elsewhere", MANY)
    root.mkdir()
    for name in MANY:
        (root / name).symlink_to(root.parent / "elsewhere" / name)


def no_image_at_all(root: Path, patch: pytest.MonkeyPatch) -> None:
    for name in MANY:
        (root / name).mkdir(parents=True)
        for copy in range(4):
            (root / name / f"{copy}.png").write_bytes(b"a text")


def one_small_class(root: Path, patch: pytest.MonkeyPatch) -> None:
    write_classes(root, MANY[1:])
    write_class(root / "small", 1, 2)


def damaged_ones(root: Path, patch: pytest.MonkeyPatch) -> None:
    write_classes(root, MANY)
    for copy in ("000.png", "002.png"):
        path = root / "class07" / copy
        path.write_bytes(path.read_bytes()[:60])


def many_small_classes(root: Path, patch: pytest.MonkeyPatch) -> None:
    write_classes(root, MANY, 1)


def too_many_evaluation_shots(root: Path, patch: pytest.MonkeyPatch) -> Sets:
    write_classes(root, MANY)
    return ["evaluation.shots=3"]


def too_many_training_shots(root: Path, patch: pytest.MonkeyPatch) -> Sets:
    write_classes(root, MANY)
    return ["algorithm.name=reptile", "algorithm.train_shots=10"]


def too_few_classes(root: Path, patch: pytest.MonkeyPatch) -> None:
    write_classes(root, names(15))


def too_small_for_the_episodes(root: Path, patch: pytest.MonkeyPatch) -> Sets:
    write_classes(root, names(9), 4)
    write_class(root / "small", 9, 3)
    return ["task.ways=5", "task.ways_range=2-8", "task.shots=3"]


def one_class(root: Path, patch: pytest.MonkeyPatch) -> None:
    write_classes(root, ["cat"])


def small_test_part(root: Path, patch: pytest.MonkeyPatch) -> None:
    for part, count in (("train", 8), ("val", 4), ("test", 2)):
        write_classes(root / part, names(count, part))


def empty_val_part(root: Path, patch: pytest.MonkeyPatch) -> None:
    for part, count in (("train", 3), ("test", 3)):
        write_classes(root / part, names(count, part))
    (root / "val").mkdir()


def no_test_part(root: Path, patch: pytest.MonkeyPatch) -> None:
    for part in ("train", "val"):
        write_classes(root / part, names(4, part))


def val_by_another_name(root: Path, patch: pytest.MonkeyPatch) -> None:
    for part in ("train", "valid", "test"):
        write_classes(root / part, names(4, part))


def shared_classes(root: Path, patch: pytest.MonkeyPatch) -> None:
    for part in ("train", "test"):
        write_classes(root / part, MANY)


def too_many_images(root: Path, patch: pytest.MonkeyPatch) -> None:
    write_classes(root, MANY)
    patch.setattr(cache, "max_decoded_bytes", lambda: 100_000)


def too_many_files(root: Path, patch: pytest.MonkeyPatch) -> None:
    write_classes(root, MANY)
    patch.setattr(scan, "MAX_FILES", 100)


def too_small_images(root: Path, patch: pytest.MonkeyPatch) -> Sets:
    write_classes(root, MANY)
    return ["task.image_size=12"]


BAD: list[tuple[Build, str]] = [
    (no_name, "task.folder is '', but must be the path of a folder of images"),
    (nothing, "but there is no such folder"),
    (a_file, "which is not a folder"),
    (a_pipe, "which is not a folder"),
    (a_loop, "which is a link to itself"),
    (a_nul, "task.folder is '/a�b', but must be the path of a folder"),
    (unknown_home, "task.folder is '~nobody-of-this-name/images', but must be the path of a folder"),
    (unreadable, "which cannot be read: permission denied"),
    (empty, "which contains no class folders"),
    (only_hidden, "which contains no class folders"),
    (no_class_folders, "put the images of each class into a separate folder"),
    (empty_class_folders, "whose 2 class folders contain no PNG or JPEG images"),
    (one_level_too_deep, "whose folders contain folders but no images"),
    (other_files, "whose 30 class folders contain no PNG or JPEG images"),
    (links_out, "which contains no class folders"),
    (no_image_at_all, "too few usable images in 'class"),
    (
        one_small_class,
        "task.shots is 1 and task.queries is 2, but their sum must be at most the number of images",
    ),
    (damaged_ones, "too few usable images in 'class07' (2) of"),
    (many_small_classes, "'class04' (1) and 25 more of"),
    (too_many_evaluation_shots, "evaluation.shots is 3 and task.queries is 2, but their sum"),
    (too_many_training_shots, "algorithm.train_shots is 10 and task.queries is 2, but their sum"),
    (
        too_few_classes,
        "10 for training, 2 for validation and 3 for testing: use at most 2 ways, or provide at least 16 class "
        "folders, or set folder.val_fraction and folder.test_fraction to 0.2, or name "
        "the classes of each split in the files train.txt, val.txt and test.txt",
    ),
    (
        too_small_for_the_episodes,
        "task.ways is 5, but the 10 classes of '{root}' are divided according to folder.val_fraction = 0.16 and "
        "folder.test_fraction = 0.2 into 6 for training, 2 for validation and 2 for testing: use at most 2 ways, or "
        "provide at least 29 class folders, or use at most 3 ways and set folder.val_fraction and folder.test_fraction "
        "to 0.3; task.ways_range is '2-8', but its upper end must be at most 6, the number of training classes of "
        "'{root}'; task.shots is 3 and task.queries is 2, but their sum must be at most the number of images of a "
        "class, and there are too few usable images in 'small' (3), 'class00' (4), 'class01' (4), 'class02' (4), "
        "'class03' (4) and 5 more of '{root}': use at most 3 shots and queries together, or add images to these "
        "classes",
    ),
    (one_class, "1 for training, 0 for validation and 0 for testing: provide at least 16 class folders"),
    (
        small_test_part,
        "8 for training, 4 for validation and 2 for testing: use at most 2 ways, or add classes",
    ),
    (empty_val_part, "2 for training, 1 for validation and 3 for testing: add classes to the smaller splits"),
    (no_test_part, "which has the folder val but no test"),
    (val_by_another_name, "whose folder valid must be called val"),
    (shared_classes, "whose class 'class00' is in train and in test"),
    (too_many_images, "need 0.0 GB at 32x32 pixels, but may use at most 0.0 GB"),
    (too_many_files, "which contains more than 100 files and folders"),
    (too_small_images, "task.image_size is 12, but must be at least 16 if model.downsample = 'max_pool'"),
]


@pytest.mark.parametrize(("build", "said"), BAD, ids=[build.__name__ for build, _ in BAD])
def test_bad_folder_is_refused_in_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    build: Build,
    said: str,
) -> None:
    monkeypatch.setattr(paths, "packed_folders_dir", lambda: tmp_path / "packed")
    root = tmp_path / "images"
    sets = build(root, monkeypatch) or []
    assignments = ["task.source=folder", f"task.folder={root}", "task.ways=3", "task.shots=1", "task.queries=2", *sets]
    arguments = [word for text in assignments for word in ("--set", text)]
    assert main(["run", *arguments, "--runs-dir", str(tmp_path / "runs")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    *progress, sentence = err.splitlines()
    assert all(line.startswith(("packing ", "packed ")) and line.endswith(" images") for line in progress)
    assert sentence.startswith("metatui: ")
    assert sentence.isprintable()
    assert said.format(root=root) in sentence
    assert not list(tmp_path.glob("runs/*"))
