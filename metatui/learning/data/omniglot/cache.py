"""The Omniglot cache: all drawings in one small file, which is verified each time it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metatui.learning.data.image_source import SIDE
from metatui.learning.data.omniglot.files import decode_drawing, part_drawings
from metatui.learning.data.omniglot.manifest import OMNIGLOT, Layout, characters
from metatui.learning.data.omniglot.splits import DRAWINGS
from metatui.learning.data.pixel_cache import read_data_set, write_data_set
from metatui.utils import paths

_FORMAT = "metatui omniglot 1"

OnProgress = Callable[[int, int], None]
"""Callback that takes the number of decoded drawings and the total."""


def pack(
    folder: Path, *, to: Path | None = None, layout: Layout = OMNIGLOT, progress: OnProgress | None = None
) -> None:
    """Decode the published files in `folder` and write the cache.

    Args:
        folder: the folder that holds `images_background` and `images_evaluation`, each as a zip file or extracted,
            either directly or in its subfolder `omniglot-py`.
        to: path of the cache (default: the path that `load` reads).
        layout: the characters that the published files must contain, no more and no fewer.

    Raises:
        BadInput: if a published file is missing, damaged or unexpected.
        WriteRefusedError: if the cache cannot be written. An existing cache is kept.
    """
    everyone = characters(layout)
    pixels = np.empty((len(everyone) * DRAWINGS, SIDE, SIDE), np.uint8)
    # Both parts are located first, so that a missing second part is reported immediately.
    parts = [part_drawings(folder, part, alphabets) for part, alphabets in layout.items()]
    drawings = (drawing for part in parts for drawing in part)
    for done, (name, data) in enumerate(drawings, 1):
        pixels[done - 1] = decode_drawing(name, data)
        if progress and done % DRAWINGS == 0:
            progress(done, len(pixels))
    save(to or paths.omniglot_cache(), pixels.reshape(len(everyone), DRAWINGS, SIDE, SIDE), layout)


def save(path: Path, pixels: NDArray[np.uint8], layout: Layout = OMNIGLOT) -> None:
    """Write `pixels`, uint8 [characters, 20, 28, 28], to the cache file `path`."""
    write_data_set(path, pixels, _metadata(layout))


def load(path: Path | None = None, *, layout: Layout = OMNIGLOT) -> tuple[Tensor, str]:
    """Return all drawings and the SHA-256 of their pixels, after verification of this checksum.

    The drawings are uint8 [characters, 20, 28, 28], in which ink is 255, in the order of `manifest.characters()`.

    Raises:
        BadInput: if the cache is missing, damaged or in another format.
    """
    shape = (len(characters(layout)), DRAWINGS, SIDE, SIDE)
    path = path or paths.omniglot_cache()
    return read_data_set(path, shape, _metadata(layout), title="Omniglot", command="metatui data omniglot")


def _metadata(layout: Layout) -> dict[str, str]:
    return {"format": _FORMAT, "characters": json.dumps([character.folder for character in characters(layout)])}
