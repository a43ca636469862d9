"""Tests of reading Omniglot's published files, and of refusing invalid ones."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from metatui.learning.data.omniglot import files
from metatui.learning.data.omniglot.cache import load, pack
from metatui.learning.data.omniglot.manifest import OMNIGLOT, characters
from metatui.utils.errors import BadInput, MetatuiError
from tests.omniglot_files import SMALL, Files, make_files, png, write_archives, write_files, zip_bytes

FIRST = "images_background/Greek/character01/0000_01.png"


def packed(folder: Path, tmp_path: Path) -> torch.Tensor:
    target = tmp_path / "out" / "small.safetensors"
    pack(folder, to=target, layout=SMALL)
    return load(target, layout=SMALL)[0]


def refusal_message(folder: Path, tmp_path: Path) -> str:
    """Check that packing `folder` fails without leaving files behind, and return the error message."""
    with pytest.raises(BadInput) as caught:
        pack(folder, to=tmp_path / "out" / "small.safetensors", layout=SMALL)
    assert not (tmp_path / "out").exists()
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.isprintable()
    return sentence


def test_published_counts() -> None:
    assert [len(alphabets) for alphabets in OMNIGLOT.values()] == [30, 20]
    assert [sum(alphabets.values()) for alphabets in OMNIGLOT.values()] == [964, 659]
    assert len(set(characters())) == 1623


def test_zips_and_folders_give_the_same_images(tmp_path: Path) -> None:
    files = make_files()
    folders = (
        write_archives(files, tmp_path / "zips"),
        write_files(files, tmp_path / "folders"),
        write_archives(files, tmp_path / "torchvision" / "omniglot-py").parent,
        write_files(files, tmp_path / "unpacked" / "omniglot-py").parent,
    )
    first, *others = (packed(folder, tmp_path) for folder in folders)
    assert first.shape == (5, 20, 28, 28)
    assert len(torch.unique(first.flatten(0, 1).flatten(1), dim=0)) == 49  # the ink has 49 positions
    assert all(torch.equal(first, other) for other in others)


def test_one_part_zipped_and_one_unpacked(tmp_path: Path) -> None:
    files = make_files()
    write_archives({"images_background": files["images_background"]}, tmp_path / "both")
    write_files({"images_evaluation": files["images_evaluation"]}, tmp_path / "both")
    assert packed(tmp_path / "both", tmp_path).shape[0] == 5


def test_zip_precedes_an_incomplete_folder(tmp_path: Path) -> None:
    files = make_files()
    write_archives(files, tmp_path / "both")
    write_files({"images_background": {FIRST: png()}}, tmp_path / "both")
    assert packed(tmp_path / "both", tmp_path).shape[0] == 5


def test_decoded_drawing() -> None:
    image = files.decode_drawing("test", png(0))
    assert image.shape == (28, 28)
    assert image.dtype == np.uint8
    assert image[4, 4] == 255  # the black square, 10 to 22 of 105 pixels
    assert image[20, 20] == 0
    assert np.count_nonzero((image > 0) & (image < 255)) > 0  # Lanczos blurs edges, nearest does not


def test_hidden_macos_files_are_skipped(tmp_path: Path) -> None:
    files = make_files()
    files["images_background"]["images_background/.DS_Store"] = b"x"
    files["images_background"]["__MACOSX/images_background/._Greek"] = b"x"
    assert packed(write_archives(files, tmp_path / "zips"), tmp_path).shape[0] == 5
    del files["images_background"]["__MACOSX/images_background/._Greek"]
    assert packed(write_files(files, tmp_path / "folders"), tmp_path).shape[0] == 5


def test_progress_counts_drawings(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    progress = lambda done, total: seen.append((done, total))  # noqa: E731
    pack(write_archives(make_files(), tmp_path / "zips"), to=tmp_path / "x", layout=SMALL, progress=progress)
    assert seen == [(20, 100), (40, 100), (60, 100), (80, 100), (100, 100)]


def drop(prefix: str) -> Callable[[dict[str, bytes]], None]:
    def change(part: dict[str, bytes]) -> None:
        for name in [name for name in part if name.startswith(prefix)]:
            del part[name]

    return change


def put(name: str, data: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda part: part.update({name: data})


def _claiming(width: int, height: int) -> bytes:
    honest = png()
    return honest[:16] + width.to_bytes(4, "big") + height.to_bytes(4, "big") + honest[24:]


def _jpeg() -> bytes:
    return b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(200)


def _flipped(data: bytes) -> bytes:
    middle = data.index(b"IDAT") + 8
    return data[:middle] + bytes(255 - b for b in data[middle : middle + 8]) + data[middle + 8 :]


GREEK = "images_background/Greek"
WRONG: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "drawing missing": (drop(FIRST), "drawing 01 of images_background/Greek/character01 cannot be found"),
    "character missing": (drop(f"{GREEK}/character02"), "all drawings of images_background/Greek/character02"),
    "alphabet missing": (drop("images_background/Latin"), "all drawings of images_background/Latin/character01"),
    "all drawings missing": (drop("images"), "all drawings of images_background/Greek/character01"),
    "extra alphabet": (put("images_background/Klingon/character01/1_01.png", png()), "Klingon"),
    "extra character": (put(f"{GREEK}/character03/9_01.png", png()), "character03"),
    "extra drawing": (put(f"{GREEK}/character01/0000_21.png", png()), "0000_21.png"),
    "drawing zero": (put(f"{GREEK}/character01/0000_00.png", png()), "0000_00.png"),
    "drawing twice": (
        put(f"{GREEK}/character01/9999_01.png", png()),
        "also contains another drawing of this character",
    ),
    "stray file": (put(f"{GREEK}/character01/notes.txt", b"hello"), "notes.txt"),
    "stray file in the root": (put("images_background/README", b"hello"), "README"),
    "too deep": (put(f"{GREEK}/character01/deeper/0000_01.png", png()), "deeper"),
    "other suffix": (put(f"{GREEK}/character01/0000_01.jpg", png()), "0000_01.jpg"),
    "other digits": (put(f"{GREEK}/character01/0000_٠١.png", png()), "which is not an Omniglot drawing"),
    "name with a terminal escape sequence": (put(f"{GREEK}/\x1b[2J_01.png", png()), "which is not an Omniglot drawing"),
    "empty png": (put(FIRST, b""), "is not a PNG image"),
    "text as png": (put(FIRST, b"hello " * 20), "is not a PNG image"),
    "jpeg as png": (put(FIRST, _jpeg()), "is not a PNG image"),
    "only a png signature": (put(FIRST, png()[:8]), "is not a PNG image"),
    "png truncated in its header": (put(FIRST, png()[:20]), "is not a PNG image"),
    "png without pixels": (put(FIRST, png()[:33]), "is damaged"),
    "png truncated in the middle": (put(FIRST, png()[:60]), "is damaged"),
    "png with flipped bytes": (put(FIRST, _flipped(png())), "is damaged"),
    "one pixel too wide": (put(FIRST, png(width=106)), "is 106x105 pixels, but must be 105x105"),
    "absurdly large": (put(FIRST, _claiming(2**31 - 1, 2**31 - 1)), "is 2147483647x2147483647 pixels"),
    "no pixels": (put(FIRST, _claiming(0, 0)), "is 0x0 pixels"),
    "colours": (put(FIRST, png(mode="RGB")), "must be black and white"),
    "too long": (put(FIRST, png() + bytes(70_000)), "too "),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("arrange", [write_archives, write_files])
def test_wrong_files_are_refused(kind: str, arrange: Callable[[Files, Path], Path], tmp_path: Path) -> None:
    change, said = WRONG[kind]
    files = make_files()
    change(files["images_background"])
    (tmp_path / "data" / "images_background").mkdir(parents=True)
    sentence = refusal_message(arrange(files, tmp_path / "data"), tmp_path)
    assert said in sentence
    assert str(tmp_path / "data" / "images_background") in sentence


def with_zip(tmp_path: Path, data: bytes) -> Path:
    folder = write_archives(make_files(), tmp_path / "data")
    (folder / "images_background.zip").write_bytes(data)
    return folder


def good_zip() -> bytes:
    return zip_bytes(make_files()["images_background"])


def _edited(offset_of: bytes, offset: int, value: bytes) -> bytes:
    """Return a valid zip file in which some bytes of a header have been replaced by `value`.

    The bytes start `offset` bytes after the first occurrence of `offset_of`, the signature of the header.
    """
    data = bytearray(good_zip())
    at = data.index(offset_of) + offset
    data[at : at + len(value)] = value
    return bytes(data)


def _bomb() -> bytes:
    return zip_bytes(make_files()["images_background"] | {FIRST: bytes(20_000_000)})


def _recompressed(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as opened:
        for name, data in make_files()["images_background"].items():
            opened.writestr(name, data)
    return file.getvalue()


def _twice() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name, data in make_files()["images_background"].items():
            opened.writestr(name, data)
        with pytest.warns(UserWarning, match="Duplicate name"):
            opened.writestr(FIRST, png())
    return file.getvalue()


CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"
WRONG_ZIPS: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is damaged"),
    "not a zip": (lambda: b"<html>404 Not Found</html>", "is damaged"),
    "random bytes": (lambda: np.random.default_rng(0).bytes(5000), "is damaged"),
    "truncated in the middle": (lambda: good_zip()[: len(good_zip()) // 2], "is damaged"),
    "truncated by a byte": (lambda: good_zip()[:-1], "is damaged"),
    "start missing": (lambda: good_zip()[1000:], "images_background.zip"),
    "outside": (lambda: zip_bytes(make_files()["images_background"] | {"../../evil.png": png()}), "'../../evil.png'"),
    "hidden and outside": (lambda: zip_bytes(make_files()["images_background"] | {"../.evil": b"x"}), "'../.evil'"),
    "absolute": (lambda: zip_bytes(make_files()["images_background"] | {"/etc/passwd": b"x"}), "'/etc/passwd'"),
    "backslashes": (lambda: zip_bytes(make_files()["images_background"] | {"..\\evil.png": png()}), "evil.png"),
    "a zip of the folder": (
        lambda: zip_bytes({f"omniglot/{n}": d for n, d in make_files()["images_background"].items()}),
        "which is not an Omniglot drawing",
    ),
    "the other part": (lambda: zip_bytes(make_files()["images_evaluation"]), "images_evaluation/Angelic"),
    "bomb": (_bomb, "has 20,000,000 bytes, too many for a drawing"),
    "wrong length": (lambda: _edited(CENTRAL, 24, (10).to_bytes(4, "little")), "is damaged"),
    "wrong checksum": (lambda: _edited(CENTRAL, 16, b"\0\0\0\0"), "is damaged"),
    "encrypted": (lambda: _edited(CENTRAL, 8, b"\x01\0"), "is damaged"),
    "unknown compression": (lambda: _edited(CENTRAL, 10, b"\x63\0"), "uses a compression method other than deflate"),
    "bzip2": (lambda: _recompressed(zipfile.ZIP_BZIP2), "uses a compression method other than deflate"),
    "lzma": (lambda: _recompressed(zipfile.ZIP_LZMA), "uses a compression method other than deflate"),
    "member twice": (_twice, "also contains another drawing of this character"),
    "deflate stream broken": (lambda: _edited(LOCAL, 30 + len(FIRST), b"\xff" * 8), "is damaged"),
    "local header broken": (lambda: _edited(LOCAL, 0, b"XXXX"), "is damaged"),
    "member starts beyond the end": (lambda: _edited(CENTRAL, 42, b"\xf0\xff\xff\x0f"), "is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG_ZIPS)
def test_wrong_zips_are_refused(kind: str, tmp_path: Path) -> None:
    make, said = WRONG_ZIPS[kind]
    sentence = refusal_message(with_zip(tmp_path, make()), tmp_path)
    assert said in sentence
    assert "images_background.zip" in sentence
    assert not any("evil" in name for _, _, names in os.walk(tmp_path) for name in names)


def test_too_large_zip_is_refused(tmp_path: Path) -> None:
    folder = with_zip(tmp_path, b"")
    with (folder / "images_background.zip").open("wb") as file:
        file.truncate(65 * 1024 * 1024)  # sparse
    assert "is too large: at most 67,108,864 bytes" in refusal_message(folder, tmp_path)


def test_missing_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.zip").write_bytes(good_zip())
    for folder in (tmp_path / "empty", tmp_path / "file.zip", tmp_path / "nowhere"):
        sentence = refusal_message(folder, tmp_path)
        assert f"'{folder}' must contain images_background.zip or the folder images_background" in sentence


def test_invalid_folder_name_is_refused(tmp_path: Path) -> None:
    assert "a�b" in refusal_message(tmp_path / "a\0b", tmp_path)


def test_missing_second_part_is_noticed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_archives({"images_background": make_files()["images_background"]}, tmp_path / "data")
    monkeypatch.setattr(files, "_member", None)
    assert "must contain images_evaluation.zip" in refusal_message(folder, tmp_path)


def _as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _as_loose_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.png")


def _as_endless_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _as_its_own_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize("spoil", [_as_folder, _as_pipe, _as_loose_link, _as_endless_link, _as_its_own_link])
def test_drawing_that_is_not_a_file_is_refused(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    folder = write_files(make_files(), tmp_path / "data")
    spoil(folder / FIRST)
    assert FIRST in refusal_message(folder, tmp_path)


def test_loop_of_links_ends(tmp_path: Path) -> None:
    folder = write_files(make_files(), tmp_path / "data")
    (folder / GREEK / "character03").symlink_to(folder / "images_background")
    assert "which is not an Omniglot drawing" in refusal_message(folder, tmp_path)


def test_old_cache_survives_a_failure(tmp_path: Path) -> None:
    target = tmp_path / "small.safetensors"
    pack(write_archives(make_files(), tmp_path / "good"), to=target, layout=SMALL)
    before = target.read_bytes()
    with pytest.raises(BadInput):
        pack(with_zip(tmp_path, b"torn"), to=target, layout=SMALL)
    assert target.read_bytes() == before


def test_unwritable_target_is_reported(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file where a folder is needed")
    with pytest.raises(MetatuiError, match="cannot be written") as caught:
        pack(write_archives(make_files(), tmp_path / "good"), to=tmp_path / "blocked" / "x", layout=SMALL)
    assert caught.value.exit_code == 1
