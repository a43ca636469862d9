"""Omniglot's published files, treated as untrusted input.

Nothing is extracted to disk. File names are only compared with the expected names. The number of bytes that are read
from the file of a drawing is limited.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metatui.learning.data.image_source import SIDE
from metatui.learning.data.omniglot.manifest import IMAGE_SIDE, Alphabets, character_folder
from metatui.learning.data.omniglot.splits import DRAWINGS
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import read_bounded, reason
from metatui.utils.text import sanitize

_MAX_DRAWING = 64 * 1024  # bytes; the largest published drawing has 486
_MAX_ARCHIVE = 64 * 1024 * 1024  # bytes; the larger of the two zips has 8 million


def part_drawings(folder: Path, part: str, alphabets: Alphabets) -> Iterator[tuple[str, bytes]]:
    """Yield the drawings of a part of Omniglot, sorted by character and person, each with a name for messages.

    The drawings are read from `<part>.zip` or from the folder `<part>`, in `folder` or in its subfolder `omniglot-py`.
    The zip file takes precedence: torchvision keeps both, and if extraction is interrupted, only the folder is damaged.

    Raises:
        BadInput: if neither exists, if the drawings cannot be read, or if a drawing is missing, unexpected or too
            large.
    """
    origin = quote(str(folder), 200)
    with _errors_named(origin):
        for base in (folder, folder / "omniglot-py"):
            archive, unpacked = base / f"{part}.zip", base / part
            if archive.is_file():
                return _in_archive(archive, part, alphabets)
            if unpacked.is_dir():
                return _in_folder(unpacked, part, alphabets)
    raise BadInput(f"{origin} must contain {part}.zip or the folder {part}, but contains neither")


def decode_drawing(name: str, data: bytes) -> NDArray[np.uint8]:
    """Decode a published drawing to uint8 [SIDE, SIDE], in which ink is 255.

    The drawing is reduced with the Lanczos filter (Finn et al. 2017). It is first converted to grey, because Pillow
    silently uses the nearest pixel instead of the filter for images with one bit per pixel.

    Raises:
        BadInput: if `data` is not a published drawing.
    """
    # Check the size before Pillow allocates memory for the size that the file claims.
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 24:
        raise BadInput(f"{name} is not a PNG image")
    width, height = struct.unpack(">II", data[16:24])
    if (width, height) != (IMAGE_SIDE, IMAGE_SIDE):
        raise BadInput(f"{name} is {width}x{height} pixels, but must be {IMAGE_SIDE}x{IMAGE_SIDE}")
    try:
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            mode = image.mode
            grey = image.convert("L")
    except Exception as error:  # decoders raise many kinds of errors
        raise BadInput(f"{name} is damaged: {sanitize(str(error))}") from None
    if mode not in ("1", "L"):
        raise BadInput(f"{name} has colours (mode {mode}), but must be black and white")
    return 255 - np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


@contextmanager
def _errors_named(origin: str) -> Iterator[None]:
    """Turn read errors into a BadInput that names `origin`."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"{origin} cannot be read: {reason(error)}") from None
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError) as error:
        raise BadInput(f"{origin} is damaged: {sanitize(str(error))}") from None


def _in_archive(archive: Path, part: str, alphabets: Alphabets) -> Iterator[tuple[str, bytes]]:
    origin = quote(str(archive), 200)
    with _errors_named(origin):
        if archive.stat().st_size > _MAX_ARCHIVE:
            raise BadInput(f"{origin} is too large: at most {_MAX_ARCHIVE:,} bytes are read")
        opened = zipfile.ZipFile(archive)
    with opened:
        # This does not call is_dir(), which fails on an empty name.
        members = [info for info in opened.infolist() if not info.filename.endswith("/")]
        by_name = {info.filename: info for info in members}
        for path in _in_order(origin, (info.filename for info in members), part, alphabets):
            yield f"{origin}: {path}", _member(origin, opened, by_name[path])


def _member(origin: str, opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.file_size > _MAX_DRAWING:
        raise BadInput(f"{origin}: {info.filename} has {info.file_size:,} bytes, too many for a drawing")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadInput(f"{origin}: {info.filename} uses a compression method other than deflate")
    with _errors_named(origin), opened.open(info) as member:
        return member.read(_MAX_DRAWING + 1)


def _in_folder(root: Path, part: str, alphabets: Alphabets) -> Iterator[tuple[str, bytes]]:
    origin = quote(str(root), 200)
    with _errors_named(origin):
        names = [f"{part}/{path.relative_to(root).as_posix()}" for path in _files_below(root, 2)]
    for name in _in_order(origin, names, part, alphabets):
        path = root.parent / name
        yield quote(str(path), 200), read_bounded(path, _MAX_DRAWING)


def _files_below(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the files in `folder` and in its subfolders down to `depth`.

    The limit also prevents endless recursion if links form a cycle.
    """
    for path in folder.iterdir():
        if depth and path.is_dir():
            yield from _files_below(path, depth - 1)
        else:
            yield path


def _in_order(origin: str, names: Iterable[str], part: str, alphabets: Alphabets) -> list[str]:
    """Sort `names` by character and person.

    Raises:
        BadInput: if a drawing is missing or duplicated, or if a file is not a drawing.
    """
    expected: dict[str, list[str]] = {
        character_folder(part, alphabet, number): [""] * DRAWINGS
        for alphabet, count in alphabets.items()
        for number in range(1, count + 1)
    }
    for name in names:
        if _is_macos_metadata(name):
            continue
        match = re.fullmatch(r"(.+)/[^/]+_(\d\d)\.png", name, re.ASCII)
        drawings, person = (expected.get(match[1]), int(match[2])) if match else (None, 0)
        if drawings is None or not 1 <= person <= DRAWINGS:
            raise BadInput(f"{origin} contains {quote(name, 200)}, which is not an Omniglot drawing")
        if drawings[person - 1]:
            raise BadInput(
                f"{origin} contains {quote(name, 200)}, but also contains another drawing of this character by "
                f"person {person:02d}"
            )
        drawings[person - 1] = name
    for character, drawings in expected.items():
        missing = [f"{person:02d}" for person, name in enumerate(drawings, 1) if not name]
        if missing:
            what = "all drawings" if len(missing) == DRAWINGS else f"drawing {missing[0]}"
            raise BadInput(f"{origin} is incomplete: {what} of {character} cannot be found")
    return [name for drawings in expected.values() for name in drawings]


def _is_macos_metadata(name: str) -> bool:
    """Return whether the file `name` is a hidden file that macOS creates."""
    folder, _, file = name.rpartition("/")
    return folder.split("/")[0] == "__MACOSX" or file == ".DS_Store" or file.startswith("._")
