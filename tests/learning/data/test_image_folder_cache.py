"""Tests of the cache of decoded images: when it is built, reused and rebuilt, and which errors are reported."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from metatui.learning.data.image_folder import cache
from metatui.learning.data.image_folder.cache import Packed, load, packed_path
from metatui.learning.data.image_folder.images import decode_image
from metatui.learning.data.image_folder.scan import list_folder
from metatui.utils import paths
from metatui.utils.errors import BadInput
from metatui.utils.progress import packing
from tests.folder_files import encode_image, pattern, write_class, write_classes


@pytest.fixture(autouse=True)
def packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "packed_folders_dir", lambda: tmp_path / "packs")
    return tmp_path / "packs"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "images", ["cat", "dog", "eel"], 3)


def packed(root: Path, *, size: int = 8, rgb: bool = True) -> Packed:
    return load(list_folder(str(root)), size=size, rgb=rgb)


@pytest.mark.parametrize("rgb", [True, False])
def test_cache_holds_the_images_in_order(root: Path, rgb: bool) -> None:
    for now in (True, False):
        found = packed(root, rgb=rgb)
        assert found.packed_now is now
        assert found.pixels.shape == (9, 3 if rgb else 1, 8, 8)
        files = list_folder(str(root)).files
        for image, file in zip(found.pixels, files, strict=True):
            assert image.tolist() == decode_image((root / file.path).read_bytes(), 8, rgb=rgb).tolist()


def test_cache_is_a_valid_safetensors_file(root: Path) -> None:
    found = packed(root)
    assert torch.equal(load_file(found.path)["images"], found.pixels)


def test_progress_with_several_chunks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_CHUNK", 2)
    reported: list[tuple[int, int]] = []
    with packing.listener(lambda done, total: reported.append((done, total))):
        found = load(list_folder(str(root)), size=8, rgb=True)
    assert reported == [(0, 9), (2, 9), (4, 9), (6, 9), (8, 9), (9, 9)]
    assert found.unusable == {}
    assert len(torch.unique(found.pixels, dim=0)) == 9


def test_listener_can_stop_packing_at_any_image(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_EVERY_SECONDS", 0.0)

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with packing.listener(stop), pytest.raises(KeyboardInterrupt):
        packed(root)
    assert not list(paths.packed_folders_dir().glob("*"))
    assert packed(root).packed_now


def test_undecodable_files_are_left_out(root: Path) -> None:
    (root / "cat" / "000.png").write_bytes(b"")
    (root / "dog" / "002.png").write_bytes(encode_image(pattern(5), "GIF"))
    (root / "eel" / "001.jpeg").write_bytes(encode_image(pattern(6), "JPEG")[:-40])
    listing = list_folder(str(root))
    for now in (True, False):
        found = load(listing, size=8, rgb=True)
        assert found.packed_now is now
        assert list(found.unusable) == [0, 5, 7]
        assert [str(left_out) for left_out in found.unusable.values()] == [
            "cat/000.png is empty",
            "dog/002.png is not a PNG or JPEG image",
            f"eel/001.jpeg {found.unusable[7].why}",
        ]
        for number, (image, file) in enumerate(zip(found.pixels, listing.files, strict=True)):
            if number in found.unusable:
                assert not image.any()
            else:
                assert image.tolist() == decode_image((root / file.path).read_bytes(), 8, rgb=True).tolist()


def test_file_removed_after_listing_is_left_out(root: Path) -> None:
    listing = list_folder(str(root))
    (root / "dog" / "000.png").unlink()
    found = load(listing, size=8, rgb=True)
    assert [str(left_out) for left_out in found.unusable.values()] == [
        "dog/000.png cannot be read: no such file or directory"
    ]


def test_too_large_file_is_left_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = list_folder(str(root))
    longest = max(file.size for file in listing.files)
    monkeypatch.setattr(cache, "_MAX_FILE", longest - 1)
    found = load(listing, size=8, rgb=True)
    assert f"has {longest:,} bytes, more than the allowed {longest - 1:,}" in [
        each.why for each in found.unusable.values()
    ]


def touched(root: Path) -> None:
    os.utime(root / "cat" / "000.png", ns=(1, 1))


def changed(root: Path) -> None:
    (root / "cat" / "000.png").write_bytes(encode_image(pattern(99)))


def added(root: Path) -> None:
    write_class(root / "fox", 4, 1)


def removed(root: Path) -> None:
    (root / "dog" / "001.jpeg").unlink()


def renamed(root: Path) -> None:
    (root / "dog").rename(root / "puppy")


@pytest.mark.parametrize("change", [touched, changed, added, removed, renamed])
def test_changed_folder_is_decoded_again(root: Path, change: Callable[[Path], None]) -> None:
    before = packed(root)
    change(root)
    after = packed(root)
    assert after.packed_now
    assert after.path == before.path
    assert not packed(root).packed_now


def test_caches_are_separate_by_size_mode_and_folder(root: Path, tmp_path: Path) -> None:
    other = shutil.copytree(root, tmp_path / "other")
    made = [packed(root), packed(root, size=9), packed(root, rgb=False), packed(other)]
    assert all(each.packed_now for each in made)
    assert len({each.path for each in made}) == 4
    assert made[3].sha256 == made[0].sha256
    assert not packed(root).packed_now


def test_force_ignores_the_cache(root: Path) -> None:
    packed(root)
    assert load(list_folder(str(root)), size=8, rgb=True, force=True).packed_now


def torn(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def header_changed(change: Callable[[dict[str, dict[str, object]]], object]) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return apply


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "truncated": torn,
    "a pixel changed": flipped,
    "an additional byte": lambda data: data + b"\0",
    "garbage": lambda data: b"\xff" * 200,
    "a pickle": lambda data: b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n(S'true'\ntR.",
    "no metadata": header_changed(lambda header: header.pop("__metadata__")),
    "another format": header_changed(lambda header: header["__metadata__"].update(format="metatui folder 1")),
    "another listing": header_changed(lambda header: header["__metadata__"].update(listing="x")),
    "no list of left-out files": header_changed(lambda header: header["__metadata__"].pop("left_out")),
    "another list of left-out files": header_changed(lambda header: header["__metadata__"].update(left_out="[[1]]")),
    "an image listed as left out": header_changed(lambda header: header["__metadata__"].update(left_out='[[0, "is"]]')),
    "a list nested too deeply": header_changed(lambda header: header["__metadata__"].update(left_out="[" * 50_000)),
    "another shape": header_changed(lambda header: header["images"].update(shape=[9, 3, 4, 16])),
    "another type": header_changed(lambda header: header["images"].update(dtype="I8")),
    "another name": header_changed(lambda header: header.update(pictures=header.pop("images"))),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_damaged_cache_is_rebuilt(root: Path, kind: str) -> None:
    first = packed(root)
    first.path.write_bytes(BROKEN[kind](first.path.read_bytes()))
    again = packed(root)
    assert again.packed_now
    assert torch.equal(again.pixels, first.pixels)
    assert not packed(root).packed_now


def test_pipe_in_place_of_the_cache_is_replaced(root: Path) -> None:
    path = packed_path(root.resolve(), size=8, rgb=True)
    path.parent.mkdir()
    os.mkfifo(path)
    assert packed(root).packed_now
    assert not packed(root).packed_now


def test_unwritable_cache_is_reported(root: Path, packs: Path) -> None:
    packs.write_text("a file where a folder should be")
    found = packed(root)
    assert len(found.pixels) == 9
    assert "could not be cached, so they will be decoded again" in found.problem
    assert "cannot be written" in found.problem


def test_folder_larger_than_half_the_memory_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need = 9 * 3 * 8 * 8
    monkeypatch.setattr(cache, "max_decoded_bytes", lambda: need)
    packed(root)
    monkeypatch.setattr(cache, "max_decoded_bytes", lambda: need - 1)
    with pytest.raises(BadInput, match=r"^the 9 images of '.*' need 0\.0 GB at 8x8 pixels, "):
        packed(root)
    packed(root, rgb=False)
