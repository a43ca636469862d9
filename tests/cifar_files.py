"""Functions that create small files in the format of CIFAR-100: Python 2 pickles, written opcode by opcode."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metatui.learning.data.cifar100.classes import CLASSES, SUPERCLASSES

COARSE = [next(n for n, names in enumerate(SUPERCLASSES.values()) if name in names) for name in CLASSES]
"""Coarse label (superclass) of each fine label, indexed by the fine label."""


def images(per_class: int, part: str) -> tuple[NDArray[np.uint8], list[int]]:
    """Return images, uint8 [100 * per_class, 3, 32, 32], and their fine labels.

    The images are not sorted by class. Images of the same class have a common pattern and differ by noise.
    """
    labels = [(7 * n) % 100 for n in range(100 * per_class)]
    patterns = np.random.default_rng(0).integers(0, 200, (100, 3, 4, 4))[labels]
    noise = np.random.default_rng([1, len(part)]).integers(0, 56, (len(labels), 3, 4, 4))
    return (patterns + noise).astype(np.uint8).repeat(8, 2).repeat(8, 3), labels


def string(data: bytes) -> bytes:
    if len(data) < 256:
        return b"U" + bytes([len(data)]) + data
    return b"T" + struct.pack("<i", len(data)) + data


def integer(value: int) -> bytes:
    return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)


def integers(values: Sequence[int]) -> bytes:
    batches = (values[start : start + 1000] for start in range(0, len(values), 1000))
    return b"]q\x05" + b"".join(b"(" + b"".join(map(integer, batch)) + b"e" for batch in batches)


def array(pixels: NDArray[np.uint8]) -> bytes:
    rows = pixels.reshape(len(pixels), -1)
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN" + 2 * integer(-1) + b"K\x00tb"
    shape = integer(rows.shape[0]) + integer(rows.shape[1]) + b"\x86"
    start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
    return start + shape + dtype + b"\x89" + string(rows.tobytes()) + b"tb"


def pickle_bytes(pixels: NDArray[np.uint8], fine: Sequence[int], coarse: Sequence[int] | None = None) -> bytes:
    names = [b"fine_labels_%06d.png" % n for n in range(len(fine))]
    values = {
        b"filenames": b"]q\x01(" + b"".join(map(string, names)) + b"e",
        b"batch_label": string(b"training batch 1 of 1"),
        b"fine_labels": integers(fine),
        b"coarse_labels": integers([COARSE[label] for label in fine] if coarse is None else coarse),
        b"data": array(pixels),
    }
    return b"\x80\x02}q\x00(" + b"".join(string(key) + value for key, value in values.items()) + b"u."


def write_folder(root: Path, per_class: dict[str, int]) -> Path:
    """Write a folder `cifar-100-python` into `root`, and return `root`.

    Args:
        per_class: number of images per class in each file, by the name of the file.
    """
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for part, count in per_class.items():
        (folder / part).write_bytes(pickle_bytes(*images(count, part)))
    return root


def write_archive(root: Path, to: Path) -> Path:
    """Pack the folder `cifar-100-python` in `root` into a `.tar.gz` file in the folder `to`. Returns `to`."""
    to.mkdir(parents=True, exist_ok=True)
    with tarfile.open(to / "cifar-100-python.tar.gz", "w:gz", compresslevel=1) as opened:
        opened.add(root / "cifar-100-python", "cifar-100-python")
    return to


def archive_bytes(members: Mapping[str, bytes | None]) -> bytes:
    """Return a `.tar.gz` file that contains `members`. None stands for a link to a file that does not exist."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as opened:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if data is None:
                info.type, info.linkname = tarfile.SYMTYPE, "nowhere"
            info.size = len(data or b"")
            opened.addfile(info, io.BytesIO(data or b""))
    return file.getvalue()
