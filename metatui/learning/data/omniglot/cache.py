"""Omniglot packed once into one small file, which is checked whenever it is read.

A safetensors file: `images` uint8 [characters, 20, 28, 28] with ink as 255, in the order of
`omniglot_layout.characters()`, and in its header the format, the characters and the SHA-256 of the pixels.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, deserialize
from safetensors.torch import save
from torch import Tensor

from metatui.learning.data.image_source import SIDE
from metatui.learning.data.omniglot.files import decoded, part_drawings
from metatui.learning.data.omniglot.manifest import DRAWINGS, OMNIGLOT, Layout, characters
from metatui.utils import paths
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import read_bounded, write_atomically
from metatui.utils.text import sanitize

_FORMAT = "metatui omniglot 1"
_MAX_BYTES = 64 * 1024 * 1024

OnProgress = Callable[[int, int], None]
"""Told how many drawings are packed, and of how many."""


@dataclass(frozen=True)
class Omniglot:
    """All drawings, verified."""

    pixels: Tensor
    """uint8 [characters, 20, 28, 28], ink as 255."""
    sha256: str
    """Of the pixels."""


def pack(
    folder: Path, *, to: Path | None = None, layout: Layout = OMNIGLOT, progress: OnProgress | None = None
) -> None:
    """Packs the published files in `folder` into the file `to` (default: where `load` looks).

    Args:
        folder: holds `images_background` and `images_evaluation`, each as a zip or unpacked, itself or in its
            `omniglot-py`.
        layout: what must be there, no more and no less.

    Raises:
        BadInput: a published file is missing, damaged or not what it should be.
        MetatuiError: the packed file cannot be written. What was there before stays.
    """
    everyone = characters(layout)
    total = len(everyone) * DRAWINGS
    pixels = np.empty((total, SIDE, SIDE), np.uint8)
    # Both parts are looked for first, so that a missing second one is said at once.
    parts = [part_drawings(folder, part, alphabets) for part, alphabets in layout.items()]
    done = 0
    for drawings in parts:
        for name, data in drawings:
            pixels[done] = decoded(name, data)
            done += 1
            if progress and done % DRAWINGS == 0:
                progress(done, total)
    images = torch.from_numpy(pixels).reshape(len(everyone), DRAWINGS, SIDE, SIDE)
    write_atomically(to or paths.omniglot_cache(), packed(images, layout))


def packed(images: Tensor, layout: Layout = OMNIGLOT) -> bytes:
    """The packed file of `images`, uint8 [characters, 20, 28, 28]."""
    checksum = _checksum(images.numpy().tobytes())
    return save({"images": images}, {"format": _FORMAT, "characters": _names(layout), "sha256": checksum})


def load(path: Path | None = None, *, layout: Layout = OMNIGLOT) -> Omniglot:
    """What `pack` wrote to `path` (default: where `pack` puts it).

    Raises:
        BadInput: it is not there, or not whole, or not what `pack` writes.
    """
    path = path or paths.omniglot_cache()
    name = quote(str(path), 200)
    if not os.path.exists(path):  # Path.exists raises where a folder may not be searched
        raise BadInput(f"Omniglot is not on this machine yet ({name} is not there): run `metatui data omniglot`")

    def untrusted(why: str) -> BadInput:
        return BadInput(f"{name} cannot be used because {why}: run `metatui data omniglot` to pack it anew")

    try:
        data = read_bounded(path, _MAX_BYTES)
    except BadInput as error:
        raise BadInput(f"{error}: run `metatui data omniglot` to pack it anew") from None
    try:
        tensors = dict(deserialize(data))  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise untrusted(f"it is damaged ({sanitize(str(error))})") from None
    # deserialize has checked that the header is JSON of the right form; it only keeps the metadata to itself.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {}
    if header.get("format") != _FORMAT:
        raise untrusted(f"its format is {quote(header.get('format', ''))} and not {quote(_FORMAT)}")
    if header.get("characters") != _names(layout):
        raise untrusted("its characters are not Omniglot's")
    shape = [len(characters(layout)), DRAWINGS, SIDE, SIDE]
    images = tensors.get("images")
    if len(tensors) != 1 or images is None or images["dtype"] != "U8" or images["shape"] != shape:
        raise untrusted(f"it must hold images as uint8 {shape} and nothing else")
    checksum = _checksum(images["data"])
    if checksum != header.get("sha256"):
        raise untrusted("its checksum is wrong")
    return Omniglot(torch.frombuffer(bytearray(images["data"]), dtype=torch.uint8).reshape(shape), checksum)


def _names(layout: Layout) -> str:
    return json.dumps([character.folder for character in characters(layout)])


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
