"""Tests of `metatui data folder`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metatui.cli.main import main
from metatui.utils import paths
from tests.folder_files import encode_image, names, pattern, write_class, write_classes


@pytest.fixture(autouse=True)
def packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "packed_folders_dir", lambda: tmp_path / "packs")


def test_pack_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_classes(tmp_path / "images", names(30), 4)
    write_class(root / "more", 1, 7)
    (root / "more" / "notes.txt").write_text("x")
    (root / "more" / "bad.png").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert main(["data", "folder", "images", "--set", "task.image_size=16"]) == 0
    out, err = capsys.readouterr()
    first, *rest = [line.strip() for line in out.splitlines()]
    assert first.startswith("Packed in ")
    assert str(tmp_path / "packs") in first
    assert rest == [
        "Images: 127 of 16x16 pixels in rgb, 4 to 7 per class (so shots + queries is at most 4)",
        "Classes with the fewest images: 'class00' (4), 'class01' (4), 'class02' (4)",
        "Classes: 20 for training, 5 for validation, 6 for testing, so at most 5 ways",
        "Files and folders left out: 2",
        "more/notes.txt does not end in .png, .jpg or .jpeg",
        "more/bad.png is not a PNG or JPEG image",
    ]
    assert err == "packing 128 images\npacked 128 of 128 images\n"

    assert main(["data", "folder", str(root), "--set", "task.image_size=16"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Already packed and unchanged: ")
    assert err == ""


def test_json_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part, count in (("train", 8), ("test", 2)):
        write_classes(tmp_path / "images" / part, names(count, part), 2)
    (tmp_path / "images" / "test" / "test00" / "\udcff.png").write_bytes(b"")
    assert main(["data", "folder", str(tmp_path / "images"), "--set", "task.image_mode=grey", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["folder"] == str(tmp_path / "images")
    assert (report["images"], report["image_size"], report["image_mode"]) == (20, 32, "grey")
    assert report["packed_now"] is True
    assert [len(report["classes"][split]) for split in ("train", "val", "test")] == [6, 2, 2]
    assert report["classes"]["test"] == [{"name": "test00", "images": 2}, {"name": "test01", "images": 2}]
    assert report["left_out"] == [{"path": "test/test00/\udcff.png", "why": "is empty"}]
    assert Path(report["file"]).is_file()


def test_shares_of_the_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_classes(tmp_path / "images", names(12), 2)
    shares = ["--set", "folder.val_fraction=0.25", "--set", "folder.test_fraction=0.25"]
    assert main(["data", "folder", str(root), *shares]) == 0
    assert "Classes: 6 for training, 3 for validation, 3 for testing, so at most 3 ways" in capsys.readouterr().out
    shares[-1] = "folder.test_fraction=0.7"
    assert main(["data", "folder", str(root), *shares]) == 2
    assert "folder.val_fraction is 0.25, but must be at most 0.9 together with" in capsys.readouterr().err


def test_fractions_are_advised_for_few_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_classes(tmp_path / "images", names(10), 2)
    advised = "--set folder.val_fraction=0.3 --set folder.test_fraction=0.3"
    assert main(["data", "folder", str(root)]) == 0
    out, _ = capsys.readouterr()
    assert "Classes: 6 for training, 2 for validation, 2 for testing, so at most 2 ways" in out
    assert f"With {advised}: at most 3 ways\n" in out
    assert main(["data", "folder", str(root), *advised.split()]) == 0
    out, _ = capsys.readouterr()
    assert "Classes: 4 for training, 3 for validation, 3 for testing, so at most 3 ways" in out
    assert "With " not in out
    assert main(["data", "folder", str(root), "--set", "task.ways=2"]) == 0
    assert "With " not in capsys.readouterr().out


def test_small_classes_and_squeezed_images_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_classes(tmp_path / "images", names(15), 3)
    write_class(root / "rod", 1, 1)
    for number, size in enumerate(((20, 10), (33, 70), (24, 24))):
        (root / "class07" / f"wide{number}.png").write_bytes(encode_image(pattern(7).resize(size)))
    for how in ("Packed", "Already packed"):  # the number is cached
        assert main(["data", "folder", str(root)]) == 0
        out, _ = capsys.readouterr()
        assert out.startswith(how)
        assert "Classes with the fewest images: 'rod' (1), 'class00' (3), 'class01' (3)\n" in out
        assert "Images that are not square and are squeezed into squares: 2\n" in out
    assert main(["data", "folder", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["squeezed"] == 2


def test_too_few_images_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_classes(tmp_path / "images", ["cat"], 1)
    assert main(["data", "folder", str(root)]) == 2
    out, err = capsys.readouterr()
    assert "Images: 1 of 32x32 pixels in rgb, 1 per class (so shots + queries is at most 1)" in out
    assert "Classes: 1 for training, 0 for validation, 0 for testing, too few for 2 ways" in out
    assert "Files and folders left out: 0\n" in out
    refused = (
        f"metatui: a task has at least 2 ways, but the 1 class of '{root}' is divided according to "
        "folder.val_fraction = 0.16 and folder.test_fraction = 0.2 into 1 for training, 0 for validation and 0 for "
        "testing: provide at least 10 class folders\n"
    )
    assert err.endswith(refused)
    assert main(["data", "folder", str(root), "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["classes"]["val"] == []
    assert err == refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere', but there is no such folder"),
        ([""], "task.folder is ''"),
        (["."], "which contains no class folders"),
        ([".", "--set", "task.image_size=4"], "task.image_size is 4, but must be a whole number from 8 to 512"),
        ([".", "--set", "task.folder"], "must be group.key=value"),
        ([], "Missing argument 'PATH'"),
    ],
)
def test_bad_arguments_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", "folder", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
