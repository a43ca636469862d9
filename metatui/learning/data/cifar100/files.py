"""CIFAR-100's published Python files, treated as untrusted input.

The files are pickles, and loading a pickle can run any code. Therefore, `pickletools` lists the operations without
performing them, and the values are taken from this list.
"""

from __future__ import annotations

import gzip
import pickletools
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metatui.learning.data.cifar100.classes import CLASSES, IMAGES, SUPERCLASSES
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import open_regular, read_bounded, reason
from metatui.utils.text import sanitize

FOLDER = "cifar-100-python"
ARCHIVE = f"{FOLDER}.tar.gz"
SIDE = 32

_MAX_FILE = 256 * 1024 * 1024  # bytes; the larger of the two files has 155 million
_MAX_MEMBERS = 16  # the published archive has 5


def read(folder: Path) -> NDArray[np.uint8]:
    """Read the images of both published files, uint8 [100, images, 3, 32, 32], sorted by class.

    The images are read from `cifar-100-python.tar.gz` or from the folder `cifar-100-python`, in `folder`. The archive
    takes precedence: torchvision keeps both, and if extraction is interrupted, only the folder is damaged.

    Raises:
        BadInput: if neither exists, or if a file is missing, is damaged or does not belong to CIFAR-100.
    """
    archive, unpacked = folder / ARCHIVE, folder / FOLDER
    try:
        if archive.is_file():
            files = _archived(archive)
        elif unpacked.is_dir():
            files = {
                part: (quote(str(unpacked / part), 200), read_bounded(unpacked / part, _MAX_FILE)) for part in IMAGES
            }
        else:
            raise BadInput(
                f"{quote(str(folder), 200)} must contain {ARCHIVE} or the folder {FOLDER}, but contains neither"
            )
    except OSError as error:
        raise BadInput(f"{quote(str(folder), 200)} cannot be read: {reason(error)}") from None
    return np.concatenate([_images(*files[part], IMAGES[part]) for part in IMAGES], 1)


def _archived(archive: Path) -> dict[str, tuple[str, bytes]]:
    """Return (name in messages, content) for each published file in `archive`."""
    origin = quote(str(archive), 200)
    files = {}
    try:
        with open_regular(archive) as file, tarfile.open(fileobj=file, mode="r:gz") as opened:
            for count, member in enumerate(opened):
                if count == _MAX_MEMBERS or member.size > _MAX_FILE:
                    raise BadInput(
                        f"{origin} is not the published archive: it has too many files, or files that are too large"
                    )
                folder, _, part = member.name.rpartition("/")
                is_published = folder == FOLDER and part in IMAGES and member.isreg()  # a link may lead nowhere
                if is_published and (content := opened.extractfile(member)):
                    files[part] = (f"{origin}: {member.name}", content.read())
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        raise BadInput(f"{origin} is damaged: {sanitize(str(error))}") from None
    for part in IMAGES:
        if part not in files:
            raise BadInput(f"{origin} is incomplete: it does not contain {FOLDER}/{part}")
    return files


def _images(name: str, data: bytes, per_class: int) -> NDArray[np.uint8]:
    """Return the images of a published file, uint8 [100, per_class, 3, 32, 32].

    Args:
        name: name of the file in messages.

    Raises:
        BadInput: if the file is damaged, or does not contain `per_class` images of each class.
    """
    pixels, fine, coarse = _values(name, data)
    if len(fine) != per_class * len(CLASSES) or len(coarse) != len(fine) or len(pixels) != len(fine) * 3 * SIDE * SIDE:
        raise BadInput(
            f"{name} has {len(fine):,} fine labels, {len(coarse):,} coarse labels and {len(pixels):,} bytes of pixels, "
            f"but must have {per_class * len(CLASSES):,} images of {3 * SIDE * SIDE:,} bytes"
        )
    superclass_of = {name: label for label, names in enumerate(SUPERCLASSES.values()) for name in names}
    expected = dict(enumerate(superclass_of[name] for name in CLASSES))
    if any(expected.get(label) != other for label, other in zip(fine, coarse, strict=True)):
        raise BadInput(f"{name} has labels that are not those of CIFAR-100")
    order = np.argsort(np.array(fine), kind="stable")
    if np.any(np.bincount(fine, minlength=len(CLASSES)) != per_class):
        raise BadInput(f"{name} does not have {per_class:,} images of each class")
    images = np.frombuffer(pixels, np.uint8).reshape(len(fine), 3, SIDE, SIDE)
    return images[order].reshape(len(CLASSES), per_class, 3, SIDE, SIDE)


def _values(name: str, data: bytes) -> tuple[bytes, list[int], list[int]]:
    """Return the pixels, the fine labels and the coarse labels in a published file.

    The file is the pickle of a dict, written by Python 2. The pixels are the longest string after the key `data`, and
    the labels are the numbers after the keys `fine_labels` and `coarse_labels`.
    """
    labels: dict[str, list[int]] = {"fine_labels": [], "coarse_labels": []}
    key, pixels = "", ""
    try:
        for operation, value, _ in pickletools.genops(data):
            if operation.name in ("SHORT_BINSTRING", "BINSTRING") and isinstance(value, str):
                if value in (*labels, "data", "filenames", "batch_label"):
                    key = value
                elif key == "data" and len(value) > len(pixels):
                    pixels = value
            elif operation.name in ("BININT", "BININT1", "BININT2") and isinstance(value, int) and key in labels:
                labels[key].append(value)
    except (ValueError, struct.error, OverflowError, MemoryError) as error:
        raise BadInput(f"{name} is damaged: {sanitize(str(error))}") from None
    return pixels.encode("latin-1"), labels["fine_labels"], labels["coarse_labels"]
