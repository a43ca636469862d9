"""Decoded images in a safetensors file: the format of the Omniglot and folder caches.

The file holds one tensor, `images` (uint8), and text metadata in its header.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from metatui.utils.errors import quote
from metatui.utils.files import reason, replacing
from metatui.utils.text import sanitize

_MAX_HEADER = 4 * 1024 * 1024


def write_pixels(path: Path, pixels: NDArray[np.uint8], metadata: Mapping[str, str]) -> None:
    """Write `pixels` and `metadata`, replacing `path` atomically.

    The header is written by hand, because the safetensors library would copy all pixels.

    Raises:
        WriteRefused: if the file cannot be written.
    """
    tensor = {"dtype": "U8", "shape": list(pixels.shape), "data_offsets": [0, pixels.nbytes]}
    header = json.dumps({"__metadata__": dict(metadata), "images": tensor}).encode()
    header += b" " * (-len(header) % 8)
    with replacing(path) as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.write(pixels.data)


def read_pixels(path: Path, shape: Sequence[int], expected: Mapping[str, str]) -> tuple[Tensor, dict[str, str]]:
    """Return the images in `path` and the metadata. The caller verifies the checksum.

    Args:
        shape: required shape of the images.
        expected: metadata that must match.

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
