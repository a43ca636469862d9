"""Zip files and images that are malformed or dangerous, such as decompression bombs."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from random import Random

from tests.folder_files import chunk, png
from tests.fuzz.values import TEXTS

BOMB = 60_000_000
"""Uncompressed size of a decompression bomb in bytes. Deflate compresses it to about 60,000 bytes."""

NAMES = (
    "../../../outside.png", "/etc/cron.d/x", "C:\\x.png", "..\\..\\x.png", "images_background/../../x_01.png",
    "a\0b.png",
    "images_background/Greek/character01/../../../../x_01.png", "images_background/Greek/character01/9_01.png",
    "images_background/Greek/character01/1_99.png", "/" * 300, "x" * 60_000, "__MACOSX/x", "images_background/._x",
)  # fmt: skip


def of_zip(path: Path, rng: Random) -> None:
    """Remove, repeat, rename or replace an entry of a zip file, or change its header."""
    with zipfile.ZipFile(path) as archive:
        entries = [(info, archive.read(info)) for info in archive.infolist()]
    output = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # about repeated names
        chosen = rng.randrange(len(entries))
        for number, (info, data) in enumerate(entries):
            name, method = info.filename, zipfile.ZIP_DEFLATED
            if number == chosen:
                match rng.randrange(9):
                    case 0:
                        continue
                    case 1:
                        archive.writestr(name, data)
                    case 2:
                        name = rng.choice((*NAMES, *TEXTS)) or "x"
                    case 3:
                        data = bytes(BOMB)
                    case 4:
                        data = picture(rng)
                    case 5:
                        method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
                    case 6:
                        info = zipfile.ZipInfo(name)
                        info.external_attr = 0o120777 << 16  # a symbolic link
                        archive.writestr(info, "/etc/passwd")
                        continue
                    case 7:
                        for extra in range(rng.choice((10, 3000))):
                            archive.writestr(f"{name}{extra}", b"")
                    case _:
                        data = data[: rng.randrange(len(data))]
            archive.writestr(name.encode(errors="replace").decode()[:60_000], data, method)
        archive.comment = rng.choice((b"", b"PK\x05\x06" * 9, b"\x1b[2J"))
    whole = bytearray(output.getvalue())
    if rng.random() < 0.3:  # a size, an offset, a flag in the central directory
        where = whole.rfind(b"PK\x01\x02") + rng.randrange(46)
        whole[where : where + 4] = struct.pack("<I", rng.choice((0, 1, 2**31, 2**32 - 1)))
    path.write_bytes(whole)


def of_picture(path: Path, rng: Random) -> None:
    path.write_bytes(picture(rng))


def picture(rng: Random) -> bytes:
    """Return a PNG or JPEG image with a huge size, missing pixels, excessive metadata or an invalid header."""
    match rng.randrange(8):
        case 0:
            side = rng.choice((2**31 - 1, 100_000, 20_000, 0))
            return png(side, side, rows=b"\0" * 100)
        case 1:
            return png(9000, 9000, depth=1, colour=0, rows=bytes(9000 * 1126))
        case 2:
            return png(3000, 3000, depth=16, colour=6, rows=bytes(3000 * 24001))
        case 3:
            return png(8, 8, rows=bytes(8 * 25), more=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(BOMB))))
        case 4:
            return png(8, 8, rows=bytes(8 * 25), more=chunk(b"tEXt", b"\x1b[2J\0" + b"[bold]" * 1000) * 50)
        case 5:
            return png(8, 8, rows=bytes(8 * 25), more=chunk(b"eXIf", b"MM\0*\0\0\0\x08" + b"\xff" * 40))
        case 6:
            return png(8, 8, depth=rng.randrange(256), colour=rng.randrange(9), rows=bytes(500))
        case _:
            size = struct.pack(">HH", 65500, 65500)
            frame = b"\xff\xc0\x00\x11\x08" + size + b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
            return b"\xff\xd8" + frame + b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00" + bytes(200)
