"""Mutations that give checkpoints and caches unexpected contents but a correct checksum."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import trees
from tests.fuzz.values import anything


def of_checkpoint(path: Path, rng: Random) -> None:
    """Change values or tensors of a checkpoint, and save it with metatui's code, so that its checksum is correct."""
    import torch

    from metatui.learning.training.trainer_state import TrainerState
    from metatui.runs.storage.checkpoints import read_checkpoint, save_checkpoint

    before = read_checkpoint(path)
    values, tensors = before.values, dict(before.tensors)
    name = rng.choice(sorted(tensors))
    tensor = tensors[name]
    match rng.randrange(9):
        case 0:
            del tensors[name]
        case 1:
            tensors[name] = torch.full_like(tensor, rng.choice((float("nan"), float("inf"), 1e30)))
        case 2:
            tensors[name] = tensor.to(rng.choice((torch.float16, torch.bfloat16, torch.float64, torch.bool)))
        case 3:
            tensors[name] = torch.zeros(rng.choice(((0,), (1,), (3, 3, 3, 3), (7, 0, 2))))
        case 4:
            tensors[rng.choice(("theta/", "best/x", "algorithm/../x", "\x1b[2J"))] = tensor
        case 5:
            values = {**values, rng.choice(sorted(values)): anything(rng)}
        case 6:
            values = {**values}
            del values[rng.choice(sorted(values))]
        case _:
            values = trees.mutated(values, rng)
    try:
        save_checkpoint(path.parent, path.stem, TrainerState(tensors, values))
    except (RecursionError, ValueError, TypeError):  # values that cannot be written
        path.write_bytes(b"")


def of_packed(path: Path, rng: Random) -> None:
    """Change the list of excluded files in the cache of an image folder, and update the checksum of the cache."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header: Any = json.loads(data[8 : 8 + length])
    about = header["__metadata__"]
    count, *rest = header["images"]["shape"]
    numbers = rng.choice(([0], [count + 5], [-1], [0, 0], [10**400], [float("inf")], ["0"], [None], [True]))
    left_out = trees.text([[number, anything(rng)] for number in numbers])
    pixels, size = data[8 + length :], rest[0] * rest[1] * rest[2]
    digests = [hashlib.blake2b(pixels[n * size :][:size], digest_size=16).digest() for n in range(count)]
    kept = [digest for n, digest in enumerate(digests) if n not in numbers]
    about["left_out"] = left_out
    about["sha256"] = hashlib.sha256(left_out.encode(errors="replace") + b"".join(kept)).hexdigest()
    text = trees.text(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + pixels)
