"""Tests of image folders whose splits are defined by lists of images or classes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from metatui.cli.main import main
from metatui.learning.data.image_folder.scan import Listing, list_folder
from metatui.utils import paths
from tests.folder_files import write_class, write_classes

Files = dict[str, str | bytes]

CLASSES: Files = {"train.txt": "cat\ndog\n", "val.txt": "emu\n", "test.txt": "fox\n"}
IMAGES: Files = {
    "train.csv": "filename,label\na1.png,a\na0.png,a\nb0.png,b\n",
    "val.csv": "filename,label\nc0.png,c\n",
    "test.csv": "filename,label\nd0.png,d\n",
}


def write_lists(folder: Path, lists: Files) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in lists.items():
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def write_images(folder: Path, names: str = "a0 a1 b0 c0 d0") -> Path:
    """Create empty image files in `folder`. They suffice because listing a folder does not open its images."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names.split():
        (folder / f"{name}.png").touch()
    return folder


def classes(listing: Listing) -> dict[str, list[str]]:
    return {f"{each.split}:{each.name}": [file.path for file in each.files] for each in listing.classes}


@pytest.mark.parametrize("base", ["images", "data", "."])
def test_lists_of_images(tmp_path: Path, base: str) -> None:
    write_lists(tmp_path, IMAGES)
    write_images(tmp_path / base, "a0 a1 b0 c0 d0 unlisted")
    prefix = "" if base == "." else f"{base}/"
    listing = list_folder(str(tmp_path))
    assert classes(listing) == {
        "train:a": [f"{prefix}a0.png", f"{prefix}a1.png"],
        "train:b": [f"{prefix}b0.png"],
        "val:c": [f"{prefix}c0.png"],
        "test:d": [f"{prefix}d0.png"],
    }
    assert listing.left_out == ()
    assert listing.lists == tmp_path


def test_images_in_class_folders(tmp_path: Path) -> None:
    """Check that images of different classes may have the same file name."""
    rows = {"train": "ab", "test": "cd"}
    for split, labels in rows.items():
        lines = "".join(f"{label},0.png,{n}\r\n" for n, label in enumerate(labels))
        write_lists(tmp_path, {f"{split}.csv": f"\ufeffLabel, Filename ,id\r\n{lines}\r\n"})
        for label in labels:
            write_images(tmp_path / "images" / label, "0")
    assert list(classes(list_folder(str(tmp_path))).items()) == [
        ("train:a", ["images/a/0.png"]),
        ("train:b", ["images/b/0.png"]),
        ("test:c", ["images/c/0.png"]),
        ("test:d", ["images/d/0.png"]),
    ]


@pytest.mark.parametrize("where", [".", "splits", "splits/bertinetto"])
def test_lists_of_classes(tmp_path: Path, where: str) -> None:
    write_lists(tmp_path / where, CLASSES)
    write_classes(tmp_path / "data", ["cat", "dog", "emu", "fox", "gnu"], 1)
    assert list(classes(list_folder(str(tmp_path)))) == ["train:cat", "train:dog", "val:emu", "test:fox"]


def test_lists_elsewhere(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "root", ["cat", "dog", "emu", "fox"], 1)
    lists = write_lists(tmp_path / "lists", {"train.csv": "label\nfox\nemu\n", "test.txt": "cat\n"})
    write_lists(root, CLASSES)
    assert list(classes(list_folder(str(root), str(lists)))) == ["train:emu", "train:fox", "test:cat"]


def test_split_folders_come_before_lists(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", ["cat"], 1)
    write_classes(tmp_path / "test", ["dog"], 1)
    write_lists(tmp_path, {"train.csv": "id,breed\n", "test.csv": "id\n"})
    assert list(classes(list_folder(str(tmp_path)))) == ["train:cat", "test:dog"]


def link_images(root: Path) -> None:
    (root / "images").rename(root.parent / "outside")
    (root / "images").symlink_to(root.parent / "outside")


def link_class(root: Path) -> None:
    (root / "cat").rename(root.parent / "cat")
    (root / "cat").symlink_to(root.parent / "cat")


BAD: dict[str, tuple[Files, str]] = {
    "no train list": ({"train.csv": b""}, "which has no train.csv or train.txt: it must have class lists for train,"),
    "no test list": ({"test.csv": b""}, "which has no test.csv or test.txt"),
    "misnamed val list": ({"val.csv": b"", "valid.csv": "label\n"}, "whose valid.csv must be called val.csv"),
    "two lists": ({"train.txt": "a\n"}, "which has both train.csv and train.txt: keep one of them"),
    "not UTF-8": ({"val.csv": b"filename,label\n\xff.png,c\n"}, "whose val.csv is not UTF-8 text"),
    "binary": ({"val.csv": b"filename,label\n\0.png,c\n"}, "whose val.csv is not a text file"),
    "empty list": ({"val.csv": "\n"}, "whose val.csv must begin with a line of column names, 'filename,label'"),
    "no header": ({"val.csv": "c0.png,c\n"}, "whose val.csv must begin with a line of column names, 'filename,label'"),
    "only a header": ({"val.csv": "filename,label\n\n"}, "whose val.csv lists no classes"),
    "too few values": ({"val.csv": "filename,label\nc0.png\n"}, "has 1 value on line 2, but must have 2"),
    "too many values": ({"val.csv": "filename,label\na,b,c\n"}, "has 3 values on line 2, but must have 2"),
    "broken quotes": ({"val.csv": 'filename,label\n"c0.png,c\n'}, "whose val.csv is damaged on line 2"),
    "no label": ({"val.csv": "filename,label\nc0.png,\n"}, "on line 2, the class '', which must be a name"),
    "a path as label": ({"val.csv": "filename,label\nc0.png,../c\n"}, "on line 2, the class '../c', which must be"),
    "no file name": ({"val.csv": "filename,label\n,c\n"}, "on line 2, the image '', which must be a path inside"),
    "path outside": ({"val.csv": "filename,label\n../c0.png,c\n"}, "on line 2, the image '../c0.png', which must be a"),
    "absolute path": ({"val.csv": "filename,label\n/c0.png,c\n"}, "on line 2, the image '/c0.png', which must be"),
    "not an image": ({"val.csv": "filename,label\nc0.gif,c\n"}, "'c0.gif', which does not end in .png, .jpg or .jpeg"),
    "missing image": ({"val.csv": "filename,label\nc7.png,c\n"}, "on line 2, the image 'c7.png', but there is no such"),
    "repeated image": ({"val.csv": "filename,label\nc0.png,c\nc0.png,c\n"}, "on line 3, the image 'c0.png' again"),
    "two labels": ({"val.csv": "filename,label\nd0.png,c\n"}, "'d0.png' again, first in the class 'c' and then in 'd'"),
    "class in two splits": ({"val.csv": "filename,label\nc0.png,b\n"}, "the class 'b', which is also in the train"),
    "images and classes": ({"val.csv": "label\nc\n"}, "whose val list names classes, but whose train list names"),
}  # fmt: skip
BAD_CLASSES: dict[str, tuple[Files, str]] = {
    "empty text": ({"test.txt": "\n"}, "whose test.txt lists no classes"),
    "repeated class": ({"test.txt": "fox\nfox\n"}, "whose test.txt lists, on line 2, the class 'fox' again"),
    "missing class": ({"test.txt": "gnu\n"}, "on line 1, the class 'gnu', but gnu cannot be read: no such file"),
    "class without images": ({"test.txt": "empty\n"}, "the class 'empty', but empty has no PNG or JPEG images"),
    "parent as class": ({"test.txt": "..\n"}, "the class '..', which must be a name without '/'"),
}


Check = Callable[[Path, str], None]


@pytest.fixture
def check_refused(capsys: pytest.CaptureFixture[str]) -> Check:
    def check(root: Path, message: str) -> None:
        assert main(["data", "folder", str(root)]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith(f"metatui: task.folder is '{root}', wh")
        assert message in err

    return check


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_list_of_images(tmp_path: Path, changes: Files, message: str, check_refused: Check) -> None:
    write_images(tmp_path / "images")
    write_lists(tmp_path, {name: text for name, text in (IMAGES | changes).items() if text})
    check_refused(tmp_path, message)


@pytest.mark.parametrize(("changes", "message"), BAD_CLASSES.values(), ids=BAD_CLASSES)
def test_bad_list_of_classes(tmp_path: Path, changes: Files, message: str, check_refused: Check) -> None:
    write_lists(write_classes(tmp_path, ["cat", "dog", "emu", "fox"], 1), CLASSES | changes)
    (tmp_path / "empty").mkdir()
    check_refused(tmp_path, message)


@pytest.mark.parametrize(("link", "lists"), [(link_images, IMAGES), (link_class, CLASSES)])
def test_links_to_outside_are_refused(
    tmp_path: Path, link: Callable[[Path], None], lists: Files, check_refused: Check
) -> None:
    root = write_lists(write_classes(tmp_path / "root", ["cat", "dog", "emu", "fox"], 1), lists)
    write_images(root / "images")
    link(root)
    check_refused(root, "is a link to a place outside the data folder")


def test_several_sets_of_lists_need_a_choice(tmp_path: Path, check_refused: Check) -> None:
    write_classes(tmp_path / "data", ["cat", "dog", "emu", "fox"], 1)
    for name in ("bertinetto", "mine"):
        write_lists(tmp_path / "splits" / name, CLASSES)
    check_refused(
        tmp_path,
        "several sets of class lists ('bertinetto', 'mine'): keep one of them, or choose one with task.class_lists if "
        "task.source = 'folder'",
    )
    assert len(list_folder(str(tmp_path), str(tmp_path / "splits" / "mine")).classes) == 4


def test_unreadable_lists_are_refused(tmp_path: Path, check_refused: Check) -> None:
    write_lists(write_class(tmp_path / "root", 0, 1), CLASSES)
    (tmp_path / "root" / "val.csv").mkdir()
    os.truncate(tmp_path / "root" / "train.txt", 65 * 1024 * 1024)
    check_refused(tmp_path / "root", "whose train.txt cannot be read: ")


def test_command_names_the_lists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "packed_folders_dir", lambda: tmp_path / "packs")
    lists: Files = {"train.txt": "cat\ndog\n", "val.txt": "emu\ngnu\n", "test.txt": "fox\nhen\n"}
    root = write_classes(write_lists(tmp_path / "root", lists), ["cat", "dog", "emu", "fox", "gnu", "hen"], 1)
    assert main(["data", "folder", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["class_lists"] == str(root)
    assert main(["data", "folder", str(root)]) == 0
    assert f"Class lists: {root}\n" in capsys.readouterr().out
    assert main(["data", "folder", str(root), "--set", f"task.class_lists={tmp_path / 'none'}"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"task.class_lists is '{tmp_path / 'none'}', which has no train.csv or train.txt" in err
