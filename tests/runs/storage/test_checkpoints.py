"""Tests of checkpoints: saving and reading, and incomplete or altered files."""

from __future__ import annotations

import json
import struct
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metatui.learning.training.trainer_state import TrainerState
from metatui.runs.storage import checkpoints
from metatui.runs.storage.checkpoints import newest_checkpoint, read_checkpoint, save_checkpoint
from metatui.utils.errors import BadInput, MetatuiError


def state(iteration: int) -> TrainerState:
    weight = torch.arange(6, dtype=torch.float32).reshape(2, 3).T + iteration  # not contiguous
    return TrainerState(
        {"theta/w": weight, "best/w": weight, "half": torch.ones(3, dtype=torch.bfloat16), "count": torch.tensor(7)},
        {"iteration": iteration, "best": None, "seconds": 0.1, "settings": {"task": {"ways": 5}}},
    )


def same(one: TrainerState | None, other: TrainerState) -> bool:
    return (
        one is not None
        and one.values == other.values
        and one.tensors.keys() == other.tensors.keys()
        and all(torch.equal(t, other.tensors[n]) and t.dtype == other.tensors[n].dtype for n, t in one.tensors.items())
    )


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "last", state(3))
    assert same(read_checkpoint(tmp_path / "last.safetensors"), state(3))
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]


def test_previous_checkpoint_is_kept(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) == (None, [])
    for iteration in (1, 2, 3):
        save_checkpoint(tmp_path, "last", state(iteration))
    save_checkpoint(tmp_path, "best", state(1))
    assert same(newest_checkpoint(tmp_path)[0], state(3))
    last = tmp_path / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-1])
    found, problems = newest_checkpoint(tmp_path)
    assert same(found, state(2))
    assert len(problems) == 1
    assert "last.safetensors' is not an intact checkpoint" in problems[0]


def test_newer_best_is_preferred_to_last(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "last", state(1))
    save_checkpoint(tmp_path, "best", state(2))
    assert same(newest_checkpoint(tmp_path)[0], state(2))


def test_error_if_all_checkpoints_are_bad(tmp_path: Path) -> None:
    for kind in ("last", "best"):
        (tmp_path / f"{kind}.safetensors").write_bytes(b"")
    with pytest.raises(BadInput, match=r"last\.safetensors.*; .*best\.safetensors"):
        newest_checkpoint(tmp_path)


def test_failed_save_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, "last", state(1))

    def full(path: Path, data: bytes) -> None:
        raise MetatuiError("no space left on device")

    monkeypatch.setattr(checkpoints, "write_atomically", full)
    with pytest.raises(MetatuiError, match="no space left"):
        save_checkpoint(tmp_path, "last", state(2))
    assert same(newest_checkpoint(tmp_path)[0], state(1))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("good")
    save_checkpoint(folder, "last", state(3))
    return (folder / "last.safetensors").read_bytes()


@settings(deadline=None)
@given(data=st.data())
def test_flipped_byte_is_detected(tmp_path_factory: pytest.TempPathFactory, good: bytes, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("bad") / "last.safetensors"
    at = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != good[at]))
    path.write_bytes(good[:at] + bytes([other]) + good[at + 1 :])
    with pytest.raises(BadInput) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(cut=st.integers(0, 10_000))
def test_torn_file_is_detected(tmp_path_factory: pytest.TempPathFactory, good: bytes, cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "last.safetensors"
    path.write_bytes(good[: cut % len(good)])
    with pytest.raises(BadInput, match="is not an intact checkpoint"):
        read_checkpoint(path)


def with_header(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


TERABYTE = {"w": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            struct.pack("<Q", 2**40) + b"{}",
            "according to the file, its header has 1,099,511,627,776 bytes, but the whole file has 10 bytes",
        ),
        (with_header(b"[" * 100_000), "its header cannot be read"),
        (with_header(b"\xff\xfe"), "its header cannot be read"),
        (with_header([]), "is not a metatui checkpoint"),
        (with_header({"__metadata__": 5}), "is not a metatui checkpoint"),
        (with_header({"__metadata__": {"format": "pt"}}), "is not a metatui checkpoint"),
        (
            with_header({"__metadata__": {"format": "metatui-9", "values": "", "sha256": ""}}),
            r"was written by a newer version \(format 9, but this version reads 1\): update metatui",
        ),
        (
            with_header({"__metadata__": {"format": "other-1", "values": "", "sha256": ""}}),
            "has format 'other-1', but must have metatui-1",
        ),
        (
            with_header({"__metadata__": {"format": "metatui-1", "values": "{}", "sha256": "0"}, **TERABYTE}),
            "its tensors cannot be read",
        ),
        (
            with_header({"__metadata__": {"format": "metatui-1", "values": "{}", "sha256": "0"}}),
            "its SHA-256 does not match",
        ),
        (b"\x80\x04cos\nsystem\n(S'true'\ntR.", "is not an intact checkpoint"),
    ],
    ids=map(str, count(1)),  # an id made of the data has 100,000 characters
)
def test_invalid_headers_are_refused(tmp_path: Path, data: bytes, sentence: str) -> None:
    path = tmp_path / "last.safetensors"
    path.write_bytes(data)
    with pytest.raises(BadInput, match=sentence):
        read_checkpoint(path)


def test_state_that_could_not_be_read_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, "last", state(1))
    size = (tmp_path / "last.safetensors").stat().st_size
    monkeypatch.setattr(checkpoints, "MAX_BYTES", size - 1)
    with pytest.raises(MetatuiError, match=f"has {size:,} bytes, but at most {size - 1:,} are allowed"):
        save_checkpoint(tmp_path, "last", state(2))
    monkeypatch.undo()
    assert same(newest_checkpoint(tmp_path)[0], state(1))


def test_type_that_safetensors_lacks(tmp_path: Path) -> None:
    tensors = {"theta/weight": torch.ones(2, dtype=torch.complex128)}
    with pytest.raises(MetatuiError, match=r"a checkpoint cannot contain tensors of type torch\.complex128"):
        save_checkpoint(tmp_path, "last", TrainerState(tensors=tensors, values={"iteration": 1}))
    assert list(tmp_path.iterdir()) == []


def test_oversized_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse, so it takes no disk space
    with pytest.raises(BadInput, match="is too large"):
        read_checkpoint(path)
