"""Mutations that damage a file by changing its bytes, its type or its contents."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import trees
from tests.fuzz.values import TEXTS, anything, scalar

Mutation = Callable[[Path, Random], None]
"""Function that damages the file at a path, and may remove it."""


def of_bytes(path: Path, rng: Random) -> None:
    """Change, insert or delete bytes at random positions of a file."""
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 2, 5, 50))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(7):
            case 0:
                del data[at:]
            case 1 if data:
                data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
            case 2:
                data[at:at] = rng.choice(TEXTS).encode(errors="surrogatepass")
            case 3:
                data[at:at] = rng.randbytes(rng.choice((1, 8, 300)))
            case 4:
                data[at:at] = data[: rng.randrange(len(data) + 1)]
            case 5:
                del data[at : at + rng.choice((1, 4, 100))]
            case _:
                data[at : at + 8] = struct.pack("<Q", rng.choice((0, 1, 2**31, 2**40, 2**63, 2**64 - 1)))
        del data[4_000_000:]
    path.write_bytes(data)


def of_kind(path: Path, rng: Random) -> None:
    """Remove a file, or replace it with an empty, random, huge or special file, a folder or a link."""
    path.unlink()
    folder = path.parent
    match rng.randrange(14):
        case 0:
            pass
        case 1:
            path.mkdir()
        case 2:
            os.mkfifo(path)
        case 3:
            path.symlink_to(path)
        case 4:
            path.symlink_to("/dev/zero")
        case 5:
            path.symlink_to("/dev/urandom")
        case 6:
            path.symlink_to(folder / "nothing")
        case 7:
            path.symlink_to(OUTSIDE)
        case 8:
            with suppress(OSError), socket.socket(socket.AF_UNIX) as sock:  # the path may be too long
                sock.bind(str(path))
        case 9:
            path.write_bytes(b"")
        case 10:
            path.write_bytes(rng.randbytes(rng.choice((1, 9, 1000))))
        case 11:
            sparse(path, rng.choice((10**8, 10**9, 10**12)))
        case 12:
            path.symlink_to(folder)
        case _:
            path.symlink_to("/dev/tty")


OUTSIDE = Path("/nonexistent")
"""File that no case may change. It is outside the home folder. The process that runs the cases sets this path."""


def sparse(path: Path, size: int) -> None:
    """Extend a file to `size` bytes without using disk space."""
    with path.open("ab") as file, suppress(OSError):  # the file system may have a limit
        file.truncate(size)


def of_json(path: Path, rng: Random) -> None:
    path.write_text(trees.text(trees.mutated(json.loads(path.read_bytes()), rng)), errors="surrogatepass")


def of_lines(path: Path, rng: Random) -> None:
    """Change, add, repeat or reorder the lines of a file with one JSON value per line."""
    lines = path.read_text().splitlines()
    for _ in range(rng.choice((1, 2, 5))):
        at = rng.randrange(len(lines)) if lines else 0
        match rng.randrange(6):
            case 0:
                lines[at:at] = [rng.choice(TEXTS)]
            case 1:
                lines[at:at] = [trees.text(anything(rng))]
            case 2:
                rng.shuffle(lines)
            case 3:
                lines += lines[at:] * rng.choice((1, 20))
            case _ if lines:
                with suppress(ValueError, RecursionError):
                    lines[at] = trees.text(trees.mutated(json.loads(lines[at]), rng))
    text = rng.choice(("\n", "\n", "\n", "\r\n", "\n\n", "\0")).join(lines)
    path.write_text(text + rng.choice(("\n", "")), errors="surrogatepass")


def of_cells(path: Path, rng: Random) -> None:
    """Change, add or remove cells of a CSV file."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    for _ in range(rng.choice((1, 1, 5))):
        row = rng.choice(rows)
        at = rng.randrange(len(row) or 1)
        row[at : at + rng.choice((0, 1, 1, 1, 2))] = [rng.choice((*TEXTS, "1e999", "nan", "", '"', "7", "p00"))]
    path.write_text("\n".join(map(",".join, rows)), errors="surrogatepass")


def of_toml(path: Path, rng: Random) -> None:
    """Change a value, key or table of a TOML file. The syntax usually stays valid."""
    lines = path.read_text().splitlines()
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines))
        key = lines[at].partition("=")[0]
        match rng.randrange(8):
            case 0:
                lines[at] = f"[{rng.choice(('task', 'x', 'preset', 'a.' * 300 + 'b', rng.choice(TEXTS)))}]"
            case 1:
                lines[at:at] = [f"{rng.choice(('unknown', 'shots', 'a.' * 900 + 'b'))} = {_toml(rng)}"]
            case 2:
                lines[at:at] = lines[at : at + 3]
            case 3:
                lines[at:at] = ["x = " + "[" * rng.choice((5, 400, 20_000))]
            case 4:
                lines[at:at] = ["x = " + "{a=" * rng.choice((5, 400, 5_000))]
            case _:
                lines[at] = f"{key}= {_toml(rng)}"
    path.write_text("\n".join(lines), errors="surrogatepass")


def _toml(rng: Random) -> str:
    value = rng.choice((scalar(rng), anything(rng)))
    if rng.random() < 0.1:
        return "9" * rng.choice((30, 5000))
    if value is None or isinstance(value, dict):
        return "{ a = 1 }"
    text = trees.text(value).replace("NaN", "nan").replace("Infinity", "inf")
    return re.sub(r"\\ud[89a-f][0-9a-f]{2}", "\\\\ufffd", text) if rng.random() < 0.9 else text


def of_safetensors(path: Path, rng: Random) -> None:
    """Change the header of a safetensors file, the length that it states for the header, or its data."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header: Any = json.loads(data[8 : 8 + length])
    body = data[8 + length :]
    match rng.randrange(5):
        case 0:
            huge = 10**12
            header["huge"] = {"dtype": "F32", "shape": [huge // 4], "data_offsets": [len(body), len(body) + huge]}
        case 1:
            name = rng.choice([name for name in header if name != "__metadata__"])
            about = header[name]
            about["shape"] = rng.choice(([2**31, 2**31], [-1], [], [0], [10**30], about["shape"] * 9))
        case 2:
            body = rng.choice((b"", body[:7], body * 2, rng.randbytes(len(body))))
        case _:
            header = trees.mutated(header, rng)
    text = trees.text(header).encode(errors="surrogatepass")
    claimed = rng.choice((len(text),) * 8 + (10**12, 2**64 - 1, 0, len(text) - 1))
    path.write_bytes(struct.pack("<Q", claimed) + text + body)
