"""A folder's images, decoded once and packed into one file, which is made anew where anything in the folder changed.

A safetensors file in the user's cache: `images` uint8 [images, channels, size, size] with bright as 255, class by class
in the order of the listing, and in its header the format, the listing's digest, the images that are left out, and a
SHA-256 over these and the digest of each image.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
import struct
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from metatui.learning.data import packing
from metatui.learning.data.image_folder.images import Unusable, decoded
from metatui.learning.data.image_folder.scan import ImageFile, LeftOut, Listing
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError, quote
from metatui.utils.files import reason, replacing

_FORMAT = "metatui folder 2"
_MAX_FILE = 256 * 1024 * 1024
"""Bytes of an image file that is still read."""
_CHUNK = 256
"""Images between two looks at whether to go on."""

DIGEST = 16
"""Bytes of the BLAKE2b digest of an image's pixels."""

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Packed:
    """A folder's images, whole and in memory."""

    pixels: Tensor
    """uint8 [images, channels, size, size], bright as 255."""
    left_out: tuple[tuple[int, str], ...]
    """Numbers of the listing's files that are not among the images, in order, and why."""
    digests: bytes
    """A digest of the pixels of each image, `DIGEST` bytes long."""
    sha256: str
    path: Path
    """Where it is packed."""
    packed_now: bool
    problem: str
    """Why it could not be kept; empty where it is."""

    def unusable(self, listing: Listing) -> tuple[LeftOut, ...]:
        files = listing.files
        return tuple(LeftOut(files[number].path, why) for number, why in self.left_out)


def load(listing: Listing, *, size: int, rgb: bool, force: bool = False) -> Packed:
    """The images of `listing`, from what was packed before where that is good and nothing changed since. Who
    listens (`metatui.learning.data.packing`) is told how far it is.

    Args:
        size: pixels across.
        force: pack anew in any case.

    Raises:
        BadInput: there are more images than this machine's memory is for.
    """
    shape = (len(listing.files), 3 if rgb else 1, size, size)
    _check_memory(listing, shape)
    path = packed_path(listing.root, size=size, rgb=rgb)
    digest = listing.digest()
    with _one_at_a_time:
        before = None if force else _read(path, digest, shape)
        return before or _pack(listing, path, digest, shape)


def packed_path(root: Path, *, size: int, rgb: bool) -> Path:
    """Where the images of the folder `root` are packed."""
    key = hashlib.sha256(os.fsencode(root) + f"\0{size} {rgb}".encode()).hexdigest()
    return paths.packed_folders_dir() / f"{key[:32]}.safetensors"


def largest() -> int:
    """Bytes of pixels that are packed: half of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _check_memory(listing: Listing, shape: tuple[int, ...]) -> None:
    many, most = int(np.prod(shape, dtype=np.int64)), largest()
    if many > most:
        raise BadInput(
            f"task.folder is {quote(str(listing.root), 200)}, whose {shape[0]:,} images of {shape[2]}x{shape[2]} "
            f"pixels take {many / 1e9:,.1f} GB, but at most {most / 1e9:,.1f} GB, half of this machine's memory, are "
            "used: take fewer of them, or a smaller task.image_size"
        )


def _pack(listing: Listing, path: Path, digest: str, shape: tuple[int, ...]) -> Packed:
    pixels = np.empty(shape, np.uint8)
    left_out = _decode_into(pixels, listing)
    pixels = _without(pixels, [number for number, _ in left_out])
    said = json.dumps(left_out)
    digests = _digests(pixels)
    checksum = _checksum(said, digests)
    metadata = {"format": _FORMAT, "listing": digest, "left_out": said, "sha256": checksum}
    problem = ""
    try:
        with replacing(path) as file:
            file.write(_header(pixels.shape, metadata))
            file.write(pixels.data)
    except MetatuiError as error:  # a full disk is no reason not to train
        problem = f"The packed images are not kept, so they will be decoded again next time: {error}"
    return Packed(torch.from_numpy(pixels), tuple(left_out), digests, checksum, path, True, problem)


def _decode_into(pixels: NDArray[np.uint8], listing: Listing) -> list[tuple[int, str]]:
    """Fills `pixels`, one image for each file; returns the files that are none, and why."""
    files = listing.files
    channels, size = pixels.shape[1:3]

    def decode(number: int) -> str:
        try:
            pixels[number] = decoded(_content(listing.root, files[number]), size, rgb=channels == 3)
        except Unusable as error:
            return str(error)
        return ""

    left_out = []
    packing.tell(0, len(files))
    # Pillow decodes without Python's lock.
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # what Pillow only warns of is either checked or does not matter here
        for start in range(0, len(files), _CHUNK):
            chunk = range(start, min(start + _CHUNK, len(files)))
            left_out += [(number, why) for number, why in zip(chunk, pool.map(decode, chunk), strict=True) if why]
            packing.tell(chunk.stop, len(files))
    return left_out


def _content(root: Path, file: ImageFile) -> bytes:
    if file.size > _MAX_FILE:
        raise Unusable(f"has {file.size:,} bytes, more than the {_MAX_FILE:,} that are read")
    try:
        with (root / file.path).open("rb") as opened:
            return opened.read(_MAX_FILE)
    except OSError as error:
        raise Unusable(f"cannot be read: {reason(error)}") from None


def _without(pixels: NDArray[np.uint8], numbers: Sequence[int]) -> NDArray[np.uint8]:
    """`pixels` without some of its images, in its own memory."""
    if not numbers:
        return pixels
    kept = np.delete(np.arange(len(pixels)), numbers)
    for to, number in enumerate(kept):
        pixels[to] = pixels[number]
    return pixels[: len(kept)]


def _header(shape: Sequence[int], metadata: dict[str, str]) -> bytes:
    """What stands before the pixels in a safetensors file. The library itself would take a copy of them all."""
    end = int(np.prod(shape, dtype=np.int64))
    images = {"dtype": "U8", "shape": list(shape), "data_offsets": [0, end]}
    text = json.dumps({"__metadata__": metadata, "images": images}).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _read(path: Path, digest: str, shape: tuple[int, ...]) -> Packed | None:
    """What is packed in `path`; None where it is not there, not whole, or of another listing."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if (metadata.get("format"), metadata.get("listing")) != (_FORMAT, digest):
                return None
            about = file.get_slice("images")
            left_out = tuple((operator.index(number), str(why)) for number, why in json.loads(metadata["left_out"]))
            expected = [shape[0] - len(left_out), *shape[1:]]
            if about.get_dtype() != "U8" or about.get_shape() != expected:
                return None
            pixels = file.get_tensor("images").clone()  # the file is only mapped, and may be cut short any time
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RecursionError):
        return None
    numbers = [number for number, _ in left_out]
    if numbers != sorted(set(numbers) & set(range(shape[0]))):
        return None
    digests = _digests(pixels.numpy())
    checksum = _checksum(metadata["left_out"], digests)
    if checksum != metadata.get("sha256"):
        return None
    return Packed(pixels, left_out, digests, checksum, path, packed_now=False, problem="")


def _digests(pixels: NDArray[np.uint8]) -> bytes:
    return b"".join(hashlib.blake2b(image.data, digest_size=DIGEST).digest() for image in pixels)


def _checksum(left_out: str, digests: bytes) -> str:
    return hashlib.sha256(left_out.encode() + digests).hexdigest()
