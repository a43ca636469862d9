"""Tests of the Omniglot cache: intact files are loaded, and all others are refused."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from metatui.learning.data.omniglot.cache import load
from metatui.learning.data.omniglot.cache import save as save_cache
from metatui.learning.data.omniglot.manifest import Layout
from metatui.utils import paths
from metatui.utils.errors import BadInput
from tests.omniglot_files import SMALL

IMAGES = torch.arange(5 * 20 * 28 * 28, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(5, 20, 28, 28)


def cache_of(images: torch.Tensor) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_cache(Path(folder) / "cache", images.numpy(), SMALL)
        return (Path(folder) / "cache").read_bytes()


GOOD = cache_of(IMAGES)


def header_of(data: bytes) -> tuple[dict[str, dict[str, object]], bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(header: object, pixels: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + pixels


def with_metadata(**changes: str | None) -> bytes:
    header, pixels = header_of(GOOD)
    for name, value in changes.items():
        if value is None:
            del header["__metadata__"][name]
        else:
            header["__metadata__"][name] = value
    return with_header(header, pixels)


def with_tensor(**changes: object) -> bytes:
    header, pixels = header_of(GOOD)
    header["images"] |= changes
    return with_header(header, pixels)


def saved(**tensors: torch.Tensor) -> bytes:
    header, _ = header_of(GOOD)
    return save(tensors, {k: str(v) for k, v in header["__metadata__"].items()})


def without_metadata() -> bytes:
    header, pixels = header_of(GOOD)
    del header["__metadata__"]
    return with_header(header, pixels)


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is damaged"),
    "seven bytes": (lambda: GOOD[:7], "is damaged"),
    "no header": (lambda: GOOD[:8], "is damaged"),
    "truncated in its header": (lambda: GOOD[:100], "is damaged"),
    "truncated in its pixels": (lambda: GOOD[: len(GOOD) // 2], "is damaged"),
    "truncated by a byte": (lambda: GOOD[:-1], "is damaged"),
    "an additional byte": (lambda: GOOD + b"\0", "is damaged"),
    "zeros": (lambda: bytes(len(GOOD)), "cannot be used"),
    "a web page": (lambda: b"<!DOCTYPE html><html><body>404</body></html>" * 9, "is damaged"),
    "a header of 1 TB": (lambda: struct.pack("<Q", 2**40) + GOOD[8:], "is damaged"),
    "a header of 2^64 - 1 bytes": (lambda: b"\xff" * 8 + GOOD[8:], "is damaged"),
    "a header that is not JSON": (lambda: struct.pack("<Q", 4) + b"oops" + GOOD[-100:], "is damaged"),
    "a header that is a list": (lambda: with_header([1, 2], b""), "is damaged"),
    "a header nested too deeply": (lambda: struct.pack("<Q", 90_000) + b"[" * 90_000, "is damaged"),
    "no metadata": (without_metadata, "format in its header is None"),
    "a later format": (
        lambda: with_metadata(format="metatui omniglot 2"),
        "in its header is 'metatui omniglot 2'",
    ),
    "no format": (lambda: with_metadata(format=None), "format in its header is None"),
    "no checksum": (lambda: with_metadata(sha256=None), "its checksum is wrong"),
    "a wrong checksum": (lambda: with_metadata(sha256="0" * 64), "its checksum is wrong"),
    "no characters": (lambda: with_metadata(characters=None), "characters in its header is None"),
    "other characters": (lambda: with_metadata(characters="[]"), "characters in its header is '[]'"),
    "a wrong pixel": (lambda: GOOD[:-1] + bytes([GOOD[-1] ^ 1]), "its checksum is wrong"),
    "no tensor": (lambda: saved(), "must hold images"),
    "another tensor's name": (lambda: saved(pictures=IMAGES), "must hold images"),
    "two tensors": (lambda: saved(images=IMAGES, labels=torch.zeros(3)), "must hold images"),
    "signed": (lambda: saved(images=IMAGES.to(torch.int8)), "must hold images as uint8 [5, 20, 28, 28]"),
    "floats": (lambda: saved(images=IMAGES.float()), "must hold images"),
    "a missing character": (lambda: saved(images=IMAGES[:4].clone()), "must hold images"),
    "a missing drawing": (lambda: saved(images=IMAGES[:, :19].clone()), "must hold images"),
    "swapped axes": (lambda: saved(images=IMAGES.reshape(20, 5, 28, 28)), "must hold images"),
    "flat": (lambda: saved(images=IMAGES.flatten()), "must hold images"),
    "offsets beyond the end": (lambda: with_tensor(data_offsets=[0, 10**12]), "is damaged"),
    "offsets backwards": (lambda: with_tensor(data_offsets=[100, 0]), "is damaged"),
    "a shape larger than any memory": (lambda: with_tensor(shape=[2**40, 2**40, 28, 28]), "is damaged"),
    "a negative shape": (lambda: with_tensor(shape=[-5, 20, 28, 28]), "is damaged"),
    "an unknown type": (lambda: with_tensor(dtype="U9"), "is damaged"),
    "a pickle": (lambda: b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n(S'true'\ntR.", "is damaged"),
}


def refusal_message(path: Path, layout: Layout = SMALL) -> str:
    with pytest.raises(BadInput) as caught:
        load(path, layout=layout)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(path) in sentence
    assert "`metatui data omniglot`" in sentence
    return sentence


def test_cache_loads(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(GOOD)
    pixels, sha256 = load(tmp_path / "good", layout=SMALL)
    assert torch.equal(pixels, IMAGES)
    assert len(sha256) == 64


@pytest.mark.parametrize("kind", BROKEN)
def test_damaged_cache_is_refused(kind: str, tmp_path: Path) -> None:
    make, said = BROKEN[kind]
    (tmp_path / "packed").write_bytes(make())
    assert said in refusal_message(tmp_path / "packed")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_changed_byte_is_noticed(tmp_path_factory: pytest.TempPathFactory, at: int, change: int) -> None:
    path = tmp_path_factory.mktemp("cache") / "packed"
    path.write_bytes(GOOD[:at] + bytes([GOOD[at] ^ change]) + GOOD[at + 1 :])
    with contextlib.suppress(BadInput):
        assert torch.equal(load(path, layout=SMALL)[0], IMAGES)  # the byte is padding of the header


@settings(max_examples=40, deadline=None)
@given(st.integers(0, len(GOOD) - 1))
def test_truncated_cache_is_refused(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = tmp_path_factory.mktemp("cache") / "packed"
    path.write_bytes(GOOD[:length])
    refusal_message(path)


def test_other_characters_are_refused(tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(GOOD)
    assert "must hold images as uint8 [5, 20, 28, 28]" not in refusal_message(
        tmp_path / "packed", {"images_background": {"Greek": 5}}
    )


def test_missing_cache_suggests_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "omniglot_cache", lambda: tmp_path / "nothing")
    with pytest.raises(BadInput, match=r"not on this machine yet .*does not exist.*run `metatui data omniglot`"):
        load()


def test_folders_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("folder", "pipe", "endless"):
        assert "is not a file" in refusal_message(tmp_path / name)


def test_too_large_cache_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(65 * 1024 * 1024)  # sparse
    assert "is too large" in refusal_message(tmp_path / "large")
