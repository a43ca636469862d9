"""Functions that create a small data set with the same file layout as Omniglot."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from metatui.learning.data.omniglot.manifest import IMAGE_SIDE, Layout, characters
from metatui.learning.data.omniglot.splits import DRAWINGS

SMALL: Layout = {"images_background": {"Greek": 2, "Latin": 1}, "images_evaluation": {"Angelic": 2}}

Files = dict[str, dict[str, bytes]]
"""Content of the files in each part of the data set, keyed by the name of the part and the path of the file."""


def png(ink: int = 0, *, width: int = IMAGE_SIDE, height: int = IMAGE_SIDE, mode: str = "1") -> bytes:
    """Return a white PNG image with a black square. The number `ink` determines the position of the square."""
    pixels = np.full((height, width), 255, np.uint8)
    top, left = 10 + 12 * (ink % 7), 10 + 12 * (ink // 7 % 7)
    pixels[top : top + 12, left : left + 12] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


def make_files(layout: Layout = SMALL) -> Files:
    files: Files = {part: {} for part in layout}
    for number, character in enumerate(characters(layout)):
        for person in range(1, DRAWINGS + 1):
            files[character.part][f"{character.folder}/{number:04d}_{person:02d}.png"] = png(number * DRAWINGS + person)
    return files


def write_files(files: Files, folder: Path) -> Path:
    for part in files.values():
        for name, data in part.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return folder


def zip_bytes(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def write_archives(files: Files, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, contents in files.items():
        (folder / f"{part}.zip").write_bytes(zip_bytes(contents))
    return folder
