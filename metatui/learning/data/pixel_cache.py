"""Decoded images in a safetensors file: the format of the caches of Omniglot, CIFAR-100 and folders.

The file holds one tensor, `images` (uint8), and text metadata in its header.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from metatui.utils.errors import BadInput, quote
from metatui.utils.files import reason, replacing
from metatui.utils.text import sanitize

_MAX_HEADER = 4 * 1024 * 1024


def write_pixels(path: Path, pixels: NDArray[np.uint8], metadata: Mapping[str, str]) -> None:
    """Write `pixels` and `metadata` to the file `path`, which is replaced atomically.

    The header is written by hand, because the safetensors library would copy all pixels.

    Raises:
        WriteRefusedError: if the file cannot be written.
    """
    tensor = {"dtype": "U8", "shape": list(pixels.shape), "data_offsets": [0, pixels.nbytes]}
    header = json.dumps({"__metadata__": dict(metadata), "images": tensor}).encode()
    header += b" " * (-len(header) % 8)
    with replacing(path) as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.write(pixels.data)


def read_pixels(path: Path, shape: Sequence[int], expected: Mapping[str, str]) -> tuple[Tensor, dict[str, str]]:
    """Return the images and the metadata in the file `path`. The caller verifies the checksum.

    Args:
        shape: required shape of the images.
        expected: metadata that the file must contain.

    Raises:
        ValueError: if the file cannot be used; the message is the reason, worded to follow "because".
    """
    try:
        if not path.is_file():
            raise ValueError("it is not a file")
        if path.stat().st_size > math.prod(shape) + _MAX_HEADER:
            raise ValueError("it is too large")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            for key, value in expected.items():
                if metadata.get(key) != value:
                    raise ValueError(f"{key} in its header is {quote(metadata.get(key))}, but must be {quote(value)}")
            images = file.get_slice("images") if list(file.keys()) == ["images"] else None
            if images is None or images.get_dtype() != "U8" or images.get_shape() != list(shape):
                raise ValueError(f"it must hold images as uint8 {list(shape)} and nothing else")
            # A copy, because the file is only mapped into memory and may be truncated at any time.
            return file.get_tensor("images").clone(), metadata
    except OSError as error:
        raise ValueError(f"it cannot be read ({reason(error)})") from None
    except SafetensorError as error:
        raise ValueError(f"it is damaged ({sanitize(str(error))})") from None


def write_data_set(path: Path, pixels: NDArray[np.uint8], metadata: Mapping[str, str]) -> None:
    """Write the images of a published data set and their checksum to the file `path`.

    Raises:
        WriteRefusedError: if the file cannot be written.
    """
    write_pixels(path, pixels, {**metadata, "sha256": hashlib.sha256(pixels.data).hexdigest()})


def read_data_set(
    path: Path, shape: Sequence[int], metadata: Mapping[str, str], *, title: str, command: str
) -> tuple[Tensor, str]:
    """Return the images that `write_data_set` wrote, and the SHA-256 of their pixels.

    Args:
        title: name of the data set in messages.
        command: command that creates the file.

    Raises:
        BadInput: if the file is missing, damaged or in another format.
    """
    name = quote(str(path), 200)
    if not os.path.exists(path):  # Path.exists raises if a folder may not be searched
        raise BadInput(f"{title} is not on this machine yet ({name} does not exist): run `{command}`")
    try:
        pixels, stored = read_pixels(path, shape, metadata)
        sha256 = hashlib.sha256(pixels.numpy().data).hexdigest()
        if sha256 != stored.get("sha256"):
            raise ValueError("its checksum is wrong")
    except ValueError as error:
        raise BadInput(f"{name} cannot be used because {error}: run `{command}` to create it again") from None
    return pixels, sha256
