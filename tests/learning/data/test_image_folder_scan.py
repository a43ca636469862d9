"""Tests of listing an image folder: its classes and splits, and the files that are left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metatui.learning.data.episodes import SPLITS
from metatui.learning.data.image_folder.scan import Listing, list_folder
from metatui.learning.data.image_folder.source import _fewest_classes, split_classes
from metatui.utils.errors import BadInput
from tests.folder_files import names, write_class, write_classes


def classes(listing: Listing) -> dict[str, list[str]]:
    return {f"{each.split or ''}:{each.name}": [file.path for file in each.files] for each in listing.classes}


def left_out(listing: Listing) -> set[str]:
    return {str(each) for each in listing.left_out}


def test_classes_and_images_are_sorted_by_name(tmp_path: Path) -> None:
    write_classes(tmp_path, ["dog", "cat"], 3)
    listing = list_folder(str(tmp_path))
    assert classes(listing) == {
        ":cat": ["cat/000.png", "cat/001.jpeg", "cat/002.png"],
        ":dog": ["dog/000.png", "dog/001.jpeg", "dog/002.png"],
    }
    assert listing.left_out == ()


def test_hidden_files_are_skipped(tmp_path: Path) -> None:
    write_classes(tmp_path, ["cat", ".git", "__MACOSX"], 1)
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "cat" / "._000.png").write_bytes(b"x")
    (tmp_path / "README.txt").write_text("about")
    listing = list_folder(str(tmp_path))
    assert classes(listing) == {":cat": ["cat/000.png"]}
    assert listing.left_out == ()


def test_other_files_and_links_are_left_out(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", write_class(tmp_path / "outside", 1, 2)
    cat = write_class(root / "cat", 2, 2)
    write_class(cat / "more", 3, 1)
    (cat / "labels.csv").write_text("a,b")
    os.mkfifo(cat / "pipe.png")
    (cat / "elsewhere.png").symlink_to(outside / "000.png")
    (cat / "nowhere.png").symlink_to(root / "nothing.png")
    (cat / "loop.png").symlink_to(cat / "loop.png")
    (root / "linked").symlink_to(outside)
    (root / "loop").symlink_to(root / "loop")
    (root / "whole").symlink_to(root)
    (root / "again").symlink_to(cat)
    (root / "lost.jpg").write_bytes(b"x")
    listing = list_folder(str(root))
    assert classes(listing) == {":cat": ["cat/000.png", "cat/001.jpeg"]}
    assert left_out(listing) == {
        "again is the same folder as cat",
        "cat/elsewhere.png is a link to a place outside the data folder",
        "cat/labels.csv does not end in .png, .jpg or .jpeg",
        "cat/loop.png is a broken link",
        "cat/more is a folder inside a class folder",
        "cat/nowhere.png is a broken link",
        "cat/pipe.png is not a file",
        "linked is a link to a place outside the data folder",
        "loop is a broken link",
        "lost.jpg is not in a class folder",
        "whole is the same folder as the whole folder",
    }


def test_links_inside_the_folder_are_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_class(root / "all" / "cat", 1, 2)
    (root / "all" / "cat" / "twin.PNG").symlink_to(root / "all" / "cat" / "000.png")
    write_class(root / "test" / "dog", 2, 1)
    (root / "train").mkdir()
    (root / "train" / "kitten").symlink_to("../all/cat")
    assert classes(list_folder(str(root))) == {
        "train:kitten": ["train/kitten/000.png", "train/kitten/001.jpeg", "train/kitten/twin.PNG"],
        "test:dog": ["test/dog/000.png"],
    }


def test_link_to_the_folder(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "root", ["cat"])
    (tmp_path / "link").symlink_to(root)
    assert list_folder(str(tmp_path / "link")) == list_folder(str(root))


def test_split_folders(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", ["a", "b"], 1)
    write_classes(tmp_path / "val", ["c"], 1)
    write_classes(tmp_path / "test", ["d"], 1)
    write_classes(tmp_path / "raw", ["e"], 1)
    listing = list_folder(str(tmp_path))
    assert list(classes(listing)) == ["train:a", "train:b", "val:c", "test:d"]
    assert left_out(listing) == {"raw is not in the folder of a split"}
    assert split_classes(listing.classes, 0) == {"train": [0, 1], "val": [2], "test": [3]}


def test_class_named_train(tmp_path: Path) -> None:
    write_classes(tmp_path, ["car", "train"], 1)
    assert list(classes(list_folder(str(tmp_path)))) == [":car", ":train"]


def test_fifth_of_training_classes_validates_without_val(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", names(10), 1)
    write_classes(tmp_path / "test", ["x", "y"], 1)
    listing = list_folder(str(tmp_path))
    splits = split_classes(listing.classes, 0)
    assert {split: len(numbers) for split, numbers in splits.items()} == {"train": 8, "val": 2, "test": 2}
    assert [listing.classes[n].name for n in splits["test"]] == ["x", "y"]
    assert sorted([*splits["train"], *splits["val"]]) == list(range(10))


@pytest.mark.parametrize(("count", "sizes"), [(100, [64, 16, 20]), (10, [6, 2, 2]), (29, [18, 5, 6]), (1, [1, 0, 0])])
def test_seed_splits_the_classes(tmp_path: Path, count: int, sizes: list[int]) -> None:
    listing = list_folder(str(write_classes(tmp_path, names(count), 1)))
    splits = split_classes(listing.classes, 3)
    assert [len(splits[split]) for split in ("train", "val", "test")] == sizes
    assert sorted(number for numbers in splits.values() for number in numbers) == list(range(count))
    assert split_classes(listing.classes, 3) == splits
    assert count < 10 or split_classes(listing.classes, 4) != splits


@pytest.mark.parametrize(("shares", "sizes"), [((0.25, 0.25), [6, 3, 3]), ((0.04, 0.5), [6, 0, 6])])
def test_shares_of_the_split(tmp_path: Path, shares: tuple[float, float], sizes: list[int]) -> None:
    listing = list_folder(str(write_classes(tmp_path, names(12), 1)))
    splits = split_classes(listing.classes, 0, shares)
    assert [len(splits[split]) for split in SPLITS] == sizes


@given(st.integers(2, 30), st.floats(0.01, 0.8), st.floats(0.01, 0.8))
def test_fewest_classes_for_the_ways(ways: int, val: float, test: float) -> None:
    assume(val + test <= 0.9)

    def smallest_part(count: int) -> int:
        held_out = int(val * count + 0.5), int(test * count + 0.5)
        return min(*held_out, count - sum(held_out))

    assert _fewest_classes(ways, (val, test)) == next(n for n in range(1, 10**5) if smallest_part(n) >= ways)


def test_unreadable_class_folder_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_classes(tmp_path, ["cat", "dog"], 1)
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    listing = list_folder(str(tmp_path))
    assert list(classes(listing)) == [":cat"]
    assert left_out(listing) == {"dog cannot be read: permission denied"}


def test_digest_depends_on_names_sizes_and_times(tmp_path: Path) -> None:
    cat = write_class(tmp_path / "cat", 1, 2)
    first = cat / "000.png"
    os.utime(first, ns=(5, 5))
    digests = [list_folder(str(tmp_path)).digest()]
    assert list_folder(str(tmp_path)).digest() == digests[0]
    os.utime(first, ns=(5, 6))
    digests.append(list_folder(str(tmp_path)).digest())
    first.write_bytes(first.read_bytes() + b"\0")
    os.utime(first, ns=(5, 6))
    digests.append(list_folder(str(tmp_path)).digest())
    first.rename(cat / "zero.png")
    digests.append(list_folder(str(tmp_path)).digest())
    cat.rename(tmp_path / "kitten")
    digests.append(list_folder(str(tmp_path)).digest())
    assert len(set(digests)) == 5


def test_names_that_are_not_text(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.mkdir(folder)
    with open(folder + b"/\x1b[31m\n.png", "wb") as file:
        file.write(b"x")
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "\x1b]0;title\x07").write_text("x")
    listing = list_folder(str(tmp_path))
    assert len(listing.files) == 1
    assert len(listing.digest()) == 64
    assert [str(each).isprintable() for each in listing.left_out] == [
        True,
        True,
    ]  # the file, and its class folder, which is then empty


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metatui.learning.data.image_folder.scan.MAX_FILES", 6)
    write_classes(tmp_path, ["cat"], 5)
    assert len(list_folder(str(tmp_path)).files) == 5
    write_classes(tmp_path, ["dog"], 1)
    with pytest.raises(BadInput, match="which contains more than 6 files and folders"):
        list_folder(str(tmp_path))
