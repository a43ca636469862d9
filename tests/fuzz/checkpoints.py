"""Checkpoints and caches that are whole, with the right checksum, and say what none of ours would."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import trees
from tests.fuzz.values import anything


def of_checkpoint(path: Path, chance: Random) -> None:
    """Other values or other tensors, sealed by metatui's own hand."""
    import torch

    from metatui.learning.training.trainer_state import TrainerState
    from metatui.runs.storage.checkpoints import read_checkpoint, save_checkpoint

    before = read_checkpoint(path)
    values, tensors = before.values, dict(before.tensors)
    name = chance.choice(sorted(tensors))
    tensor = tensors[name]
    match chance.randrange(9):
        case 0:
            del tensors[name]
        case 1:
            tensors[name] = torch.full_like(tensor, chance.choice((float("nan"), float("inf"), 1e30)))
        case 2:
            tensors[name] = tensor.to(chance.choice((torch.float16, torch.bfloat16, torch.float64, torch.bool)))
        case 3:
            tensors[name] = torch.zeros(chance.choice(((0,), (1,), (3, 3, 3, 3), (7, 0, 2))))
        case 4:
            tensors[chance.choice(("theta/", "best/x", "algorithm/../x", "\x1b[2J"))] = tensor
        case 5:
            values = {**values, chance.choice(sorted(values)): anything(chance)}
        case 6:
            values = {**values}
            del values[chance.choice(sorted(values))]
        case _:
            values = trees.mutated(values, chance)
    try:
        save_checkpoint(path.parent, path.stem, TrainerState(tensors, values))
    except (RecursionError, ValueError, TypeError):  # what cannot even be written
        path.write_bytes(b"")


def of_packed(path: Path, chance: Random) -> None:
    """A folder's cache that leaves other images out than there are, with the checksum of that."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header: Any = json.loads(data[8 : 8 + length])
    about = header["__metadata__"]
    count, *rest = header["images"]["shape"]
    numbers = chance.choice(([0], [count + 5], [-1], [0, 0], [10**400], [float("inf")], ["0"], [None], [True]))
    shown = trees.text([[number, anything(chance)] for number in numbers])
    kept = max(0, count - len(numbers))
    header["images"]["shape"] = [kept, *rest]
    pixels = data[8 + length :][: kept * rest[0] * rest[1] * rest[2]]
    header["images"]["data_offsets"] = [0, len(pixels)]
    about["left_out"] = shown
    about["sha256"] = hashlib.sha256(shown.encode(errors="replace") + pixels).hexdigest()
    text = trees.text(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + pixels)
