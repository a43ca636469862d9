"""Functions that create folders of small images."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 32


def pattern(number: int, copy: int = 0) -> Image.Image:
    """Return an image with the colours of class `number`, and with noise that depends on `copy`."""
    colours = np.random.default_rng(number).integers(0, 256, (4, 4, 3))
    noise = np.random.default_rng([number, copy]).normal(0, 25, (4, 4, 3))
    patch = Image.fromarray((colours + noise).clip(0, 255).astype(np.uint8))
    return patch.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def encode_image(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Encode `image` in the file format `kind`."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def write_class(folder: Path, number: int, images: int) -> Path:
    """Write `images` images of class `number` into a new folder, alternately as PNG and JPEG. Returns the folder."""
    folder.mkdir(parents=True)
    for copy in range(images):
        kind = ("PNG", "JPEG")[copy % 2]
        (folder / f"{copy:03d}.{kind.lower()}").write_bytes(encode_image(pattern(number, copy), kind))
    return folder


def write_classes(root: Path, names: Iterable[str], images: int = 4) -> Path:
    """Write a folder of `images` images into `root` for each class in `names`. Returns `root`."""
    for name in names:
        write_class(root / name, zlib.crc32(name.encode()), images)
    return root


def names(count: int, prefix: str = "class") -> list[str]:
    return [f"{prefix}{number:02d}" for number in range(count)]


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, rows: bytes = b"", more: bytes = b"") -> bytes:
    """Assemble a PNG file from its parts, so that tests can create files that Pillow cannot write.

    Args:
        rows: uncompressed rows of pixels, each with its filter byte.
        more: encoded chunks to insert between the header and the pixels.
    """
    about = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", about) + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def chunk(kind: bytes, data: bytes) -> bytes:
    """Encode a chunk of a PNG file, with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
