"""The cache of a folder's decoded images, which is rebuilt when a file in the folder has changed.

The tensor `images` is uint8 [files, channels, size, size] with white as 255, in the order of the listing; the pixels of
files that are left out are 0. The header holds the format, the digest of the listing, the files that are left out, a
SHA-256 of the digests of all images and of the list of the files that are left out, and the number of images that are
squeezed to squares.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
import threading
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metatui.learning.data.image_folder.images import UnusableImageError, decode_image, is_square
from metatui.learning.data.image_folder.scan import ImageFile, LeftOut, Listing
from metatui.learning.data.pixel_cache import read_pixels, write_pixels
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError, quote
from metatui.utils.files import reason
from metatui.utils.processors import usable_cores
from metatui.utils.progress import packing

_FORMAT = "metatui folder 2"
_MAX_FILE = 256 * 1024 * 1024
"""Maximum size of an image file, in bytes."""
_CHUNK = 256
"""Maximum number of images between two progress reports."""
_EVERY_SECONDS = 0.5
"""Maximum number of seconds between two progress reports, except while a single image is decoded. A listener may stop
packing when it receives a report."""

_lock = threading.Lock()


@dataclass(frozen=True)
class Packed:
    """A folder's decoded images."""

    pixels: Tensor
    """uint8 [files, channels, size, size], in which white is 255. The pixels of files that are left out are 0."""
    unusable: dict[int, LeftOut]
    """Files that are left out because they could not be decoded, keyed by their positions in the listing."""
    digests: tuple[bytes, ...]
    """BLAKE2b digest of each file's pixels; empty for files that are left out."""
    sha256: str
    path: Path
    """Path of the cache."""
    packed_now: bool
    """True if `load` decoded the images, False if it read them from the cache."""
    squeezed: int | None
    """Number of images that are squeezed to squares, because they are not square. None if the cache was written by an
    earlier version and does not contain this number."""
    problem: str = ""
    """A sentence that explains why the cache could not be written; empty if it was written."""


def load(listing: Listing, *, size: int, rgb: bool, force: bool = False) -> Packed:
    """Return the images of `listing`, from the cache if it is intact and up to date.

    Progress of decoding is reported through `metatui.utils.progress.packing`.

    Args:
        size: height and width in pixels.
        force: whether to decode the images even if they are cached.

    Raises:
        BadInput: if the images would take more than half of this machine's memory.
    """
    shape = (len(listing.files), 3 if rgb else 1, size, size)
    check_memory([listing], size=size, rgb=rgb)
    path = packed_path(listing.root, size=size, rgb=rgb)
    with _lock:
        cached = None if force else _read(path, listing, shape)
        return cached or _pack(path, listing, shape)


def check_memory(listings: Sequence[Listing], *, size: int, rgb: bool) -> None:
    """Raise BadInput if the images of all `listings` together would take more than half of this machine's memory."""
    count, limit = sum(len(listing.files) for listing in listings), max_decoded_bytes()
    required = count * (3 if rgb else 1) * size**2
    if required > limit:
        roots = " and ".join(quote(str(listing.root), 200) for listing in listings)
        raise BadInput(
            f"the {count:,} images of {roots} need {required / 1e9:,.1f} GB at {size}x{size} pixels, but may use at "
            f"most {limit / 1e9:,.1f} GB, half of this machine's memory: use fewer images or a smaller task.image_size"
        )


def packed_path(root: Path, *, size: int, rgb: bool) -> Path:
    """Return the path of the cache of the folder `root` for this image size and number of channels."""
    key = hashlib.sha256(os.fsencode(root) + f"\0{size} {rgb}".encode()).hexdigest()
    return paths.packed_folders_dir() / f"{key[:32]}.safetensors"


def max_decoded_bytes() -> int:
    """Return the maximum number of bytes for decoded images: half of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _pack(path: Path, listing: Listing, shape: tuple[int, ...]) -> Packed:
    pixels = np.zeros(shape, np.uint8)
    reasons, squeezed = _decode_into(pixels, listing)
    left_out = json.dumps(list(reasons.items()))
    digests = _digests(pixels, reasons)
    sha256 = _checksum(left_out, digests)
    problem = ""
    try:
        metadata = {
            "format": _FORMAT,
            "listing": listing.digest(),
            "left_out": left_out,
            "sha256": sha256,
            "squeezed": str(squeezed),
        }
        write_pixels(path, pixels, metadata)
    except MetatuiError as error:  # training does not need the cache
        problem = f"The decoded images could not be cached, so they will be decoded again next time: {error}"
    unusable = _left_out(listing, reasons)
    images = torch.from_numpy(pixels)
    return Packed(images, unusable, digests, sha256, path, packed_now=True, squeezed=squeezed, problem=problem)


def _decode_into(pixels: NDArray[np.uint8], listing: Listing) -> tuple[dict[int, str], int]:
    """Decode all images into `pixels`.

    Returns:
        The reasons why files cannot be decoded, keyed by file index, and the number of images that are not square.
    """
    files = listing.files
    channels, size = pixels.shape[1:3]

    def decode(number: int) -> tuple[str, bool]:
        """Decode the image of a file.

        Returns:
            The reason why the file cannot be decoded, or an empty string; and whether the image was not square, so that
            it was resized without keeping its proportions.
        """
        try:
            data = _content(listing.root, files[number])
            pixels[number] = decode_image(data, size, rgb=channels == 3)
        except UnusableImageError as error:
            return str(error), False
        return "", not is_square(data)

    reasons: dict[int, str] = {}
    squeezed = 0
    packing.report(0, len(files))
    reported = time.monotonic()
    # Threads decode in parallel, because Pillow releases the global interpreter lock.
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, usable_cores())) as pool:
        warnings.simplefilter("ignore")  # Pillow's warnings are either checked in `decode_image` or irrelevant
        for start in range(0, len(files), _CHUNK):
            chunk = range(start, min(start + _CHUNK, len(files)))
            for number, (why, is_squeezed) in zip(chunk, pool.map(decode, chunk), strict=True):
                squeezed += is_squeezed
                if why:
                    reasons[number] = why
                if number + 1 == chunk.stop or time.monotonic() - reported >= _EVERY_SECONDS:
                    packing.report(number + 1, len(files))
                    reported = time.monotonic()
    return reasons, squeezed


def _content(root: Path, file: ImageFile) -> bytes:
    if file.size > _MAX_FILE:
        raise UnusableImageError(f"has {file.size:,} bytes, more than the allowed {_MAX_FILE:,}")
    try:
        with (root / file.path).open("rb") as opened:
            return opened.read(file.size)  # without a limit, a file that grows would be read to its end
    except OSError as error:
        raise UnusableImageError(f"cannot be read: {reason(error)}") from None


def _read(path: Path, listing: Listing, shape: tuple[int, ...]) -> Packed | None:
    """Return the cached images, or None if there is no intact cache of this listing."""
    try:
        pixels, metadata = read_pixels(path, shape, {"format": _FORMAT, "listing": listing.digest()})
        reasons = {operator.index(number): str(why) for number, why in json.loads(metadata["left_out"])}
        squeezed = int(metadata["squeezed"]) if "squeezed" in metadata else None
        if not all(0 <= number < shape[0] for number in reasons):
            return None
    except (KeyError, ValueError, TypeError, RecursionError):
        return None
    digests = _digests(pixels.numpy(), reasons)
    sha256 = _checksum(metadata["left_out"], digests)
    if sha256 != metadata.get("sha256"):
        return None
    unusable = _left_out(listing, reasons)
    return Packed(pixels, unusable, digests, sha256, path, packed_now=False, squeezed=squeezed)


def _left_out(listing: Listing, reasons: dict[int, str]) -> dict[int, LeftOut]:
    return {number: LeftOut(listing.files[number].path, why) for number, why in reasons.items()}


def _digests(pixels: NDArray[np.uint8], left_out: dict[int, str]) -> tuple[bytes, ...]:
    return tuple(
        b"" if number in left_out else hashlib.blake2b(image.data, digest_size=16).digest()
        for number, image in enumerate(pixels)
    )


def _checksum(left_out: str, digests: Sequence[bytes]) -> str:
    return hashlib.sha256(left_out.encode() + b"".join(digests)).hexdigest()
