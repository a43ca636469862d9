"""Omniglot's published files, read without trusting them.

Nothing is ever unpacked to disk: names are only compared with those that are expected, and what they stand for is
read into memory, no further than a drawing can be long.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metatui.learning.data.image_source import SIDE
from metatui.learning.data.omniglot.manifest import DRAWINGS, IMAGE_SIDE, character_folder
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import read_bounded, reason
from metatui.utils.text import sanitize

_MAX_DRAWING = 64 * 1024  # bytes; the largest published drawing has 486
_MAX_ARCHIVE = 64 * 1024 * 1024  # bytes; the larger of the two has 8 million

Alphabets = Mapping[str, int]
"""Characters in each alphabet."""


def part_drawings(folder: Path, part: str, alphabets: Alphabets) -> Iterator[tuple[str, bytes]]:
    """The drawings of a part of Omniglot in order of character and person, each with a name for messages.

    They are read out of `<part>.zip` or of the folder `<part>`, in `folder` or in its `omniglot-py`. The zip goes
    first: torchvision leaves both behind, and an interrupted unpacking shows only in the folder.

    Raises:
        BadInput: neither is there, it cannot be read, or a drawing is missing, too many, or too long.
    """
    origin = quote(str(folder), 200)
    with _damage_named(origin):
        for base in (folder, folder / "omniglot-py"):
            archive, unpacked = base / f"{part}.zip", base / part
            if archive.is_file():
                return _in_archive(archive, part, alphabets)
            if unpacked.is_dir():
                return _in_folder(unpacked, part, alphabets)
    raise BadInput(f"{origin} must hold {part}.zip or the folder {part}, but has neither")


def decoded(name: str, data: bytes) -> NDArray[np.uint8]:
    """A published drawing as uint8 [SIDE, SIDE], ink as 255. Raises BadInput where `data` is not one.

    Made smaller with the Lanczos filter as Finn et al. (2017) say they do; as grey, because Pillow silently takes the
    nearest pixel instead where an image has one bit a pixel.
    """
    # The size is checked before Pillow sees the file and makes room for whatever it claims.
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 24:
        raise BadInput(f"{name} is not a PNG image")
    width, height = struct.unpack(">II", data[16:24])
    if (width, height) != (IMAGE_SIDE, IMAGE_SIDE):
        raise BadInput(f"{name} is {width}x{height} pixels, but must be {IMAGE_SIDE}x{IMAGE_SIDE}")
    try:
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            mode = image.mode
            grey = image.convert("L")
    except Exception as error:  # decoders raise whatever they stumble over
        raise BadInput(f"{name} is damaged: {sanitize(str(error))}") from None
    if mode not in ("1", "L"):
        raise BadInput(f"{name} is in colours (mode {mode}), but must be black and white")
    return 255 - np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


@contextmanager
def _damage_named(origin: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput(f"{origin} cannot be read: {reason(error)}") from None
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError) as error:
        raise BadInput(f"{origin} is damaged: {sanitize(str(error))}") from None


def _in_archive(archive: Path, part: str, alphabets: Alphabets) -> Iterator[tuple[str, bytes]]:
    origin = quote(str(archive), 200)
    with _damage_named(origin):
        if archive.stat().st_size > _MAX_ARCHIVE:
            raise BadInput(f"{origin} is too large: at most {_MAX_ARCHIVE:,} bytes are read")
        opened = zipfile.ZipFile(archive)
    with opened:
        members = [info for info in opened.infolist() if not info.filename.endswith("/")]  # is_dir fails without a name
        by_name = {info.filename: info for info in members}
        for path in _in_order(origin, (info.filename for info in members), part, alphabets):
            yield f"{origin}: {path}", _member(origin, opened, by_name[path])


def _member(origin: str, opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.file_size > _MAX_DRAWING:
        raise BadInput(f"{origin}: {info.filename} is {info.file_size:,} bytes long, too long for a drawing")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadInput(f"{origin}: {info.filename} is compressed in a way that Omniglot is not")
    with _damage_named(origin), opened.open(info) as member:
        return member.read(_MAX_DRAWING + 1)


def _in_folder(root: Path, part: str, alphabets: Alphabets) -> Iterator[tuple[str, bytes]]:
    origin = quote(str(root), 200)
    with _damage_named(origin):
        names = [f"{part}/{path.relative_to(root).as_posix()}" for path in _files_below(root, 2)]
    for name in _in_order(origin, names, part, alphabets):
        path = root.parent / name
        yield quote(str(path), 200), read_bounded(path, _MAX_DRAWING)


def _files_below(folder: Path, depth: int) -> Iterator[Path]:
    """What is in `folder`, and in its folders down to `depth`; a link that leads upwards leads no further."""
    for path in folder.iterdir():
        if depth and path.is_dir():
            yield from _files_below(path, depth - 1)
        else:
            yield path


def _in_order(origin: str, names: Iterable[str], part: str, alphabets: Alphabets) -> list[str]:
    """`names` by character and person. Raises BadInput unless every drawing is there once, and nothing else."""
    places: dict[str, list[str]] = {
        character_folder(part, alphabet, number): [""] * DRAWINGS
        for alphabet, count in alphabets.items()
        for number in range(1, count + 1)
    }
    for name in names:
        if _is_litter(name):
            continue
        found = re.fullmatch(r"(.+)/[^/]+_(\d\d)\.png", name, re.ASCII)
        drawings, person = (places.get(found[1]), int(found[2])) if found else (None, 0)
        if drawings is None or not 1 <= person <= DRAWINGS:
            raise BadInput(f"{origin} contains {quote(name, 200)}, which is not a drawing of Omniglot")
        if drawings[person - 1]:
            raise BadInput(f"{origin} contains {quote(name, 200)}, a second drawing {person:02d} of its character")
        drawings[person - 1] = name
    for character, drawings in places.items():
        missing = [f"{person:02d}" for person, name in enumerate(drawings, 1) if not name]
        if missing:
            what = "all drawings" if len(missing) == DRAWINGS else f"drawing {missing[0]}"
            raise BadInput(f"{origin} is not whole: {what} of {character} must be there, but cannot be found")
    return [name for drawings in places.values() for name in drawings]


def _is_litter(name: str) -> bool:
    """Whether a desktop left this file behind."""
    folder, _, file = name.rpartition("/")
    return folder.split("/")[0] == "__MACOSX" or file == ".DS_Store" or file.startswith("._")
