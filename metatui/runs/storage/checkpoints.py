"""Checkpoints: safetensors with the rest of the state as JSON in the header, and a SHA-256 over both.

No pickle, so a checkpoint cannot run code. A new one is whole on disk before the old one goes, and the old `last` stays
as `previous`: whatever tears a file, the newest good one is found.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metatui.config.fields import FIELDS
from metatui.runs.storage.metrics import MOST
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import read_bounded, remove_leftovers, sync_directory, write_atomically, writing

if TYPE_CHECKING:
    from torch import Tensor

    from metatui.learning.training.trainer_state import TrainerState

LARGEST = 4 * 1024**3
LARGEST_HEADER = 16 * 1024 * 1024
FORMAT = "metatui-1"


def save_checkpoint(folder: Path, kind: str, state: TrainerState) -> None:
    """Writes `folder/<kind>.safetensors`; `kind` is `last` or `best`. Raises MetatuiError where the disk is full."""
    from safetensors.torch import save

    # Parameters may share memory with the best ones, which the format cannot say.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.tensors.items()}
    values = json.dumps(state.values, sort_keys=True)
    data = save(tensors, metadata={"format": FORMAT, "values": values, "sha256": _digest(tensors, values)})
    target = folder / f"{kind}.safetensors"
    fresh = target.with_suffix(".new")
    write_atomically(fresh, data)
    with writing(target):
        if kind == "last" and target.exists():
            os.replace(target, folder / "previous.safetensors")
        os.replace(fresh, target)
        sync_directory(folder)


def clean_checkpoints(folder: Path) -> None:
    """Removes what a writer that was killed in the middle of a checkpoint left. Only for the run's only writer. Raises
    WriteRefused."""
    with writing(folder):
        folder.mkdir(exist_ok=True)
        fresh = [f"{kind}.new" for kind in ("last", "best")]
        for name in fresh:
            (folder / name).unlink(missing_ok=True)
    remove_leftovers(folder, fresh)


def read_checkpoint(path: Path) -> TrainerState:
    """The state in `path`, on the CPU. Raises BadInput where the file is torn, tampered with or not a checkpoint."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    from metatui.learning.training.trainer_state import TrainerState

    name = quote(str(path), 200)
    data = read_bounded(path, LARGEST)
    metadata = _metadata(data, name)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError):
        raise BadInput(f"{name} is not a whole checkpoint: its tensors cannot be read") from None
    values = metadata["values"]
    if _digest(tensors, values) != metadata["sha256"]:
        raise BadInput(f"{name} is not a whole checkpoint: its SHA-256 does not match")
    try:
        state = TrainerState(tensors=tensors, values=json.loads(values))
    except (ValueError, RecursionError):
        raise BadInput(f"{name} is not a checkpoint of metatui: its values cannot be read") from None
    if wrong := _wrong_value(state.values):
        raise BadInput(f"{name} is not a checkpoint of metatui: its values do not say {wrong}")
    return state


def newest_checkpoint(folder: Path) -> tuple[TrainerState | None, list[str]]:
    """The newest good checkpoint in `folder` and a sentence about each bad one.

    Returns:
        None for the state where nothing was ever saved.

    Raises:
        BadInput: there are checkpoints, but none is whole.
    """
    problems: list[str] = []
    good: dict[str, TrainerState] = {}
    for kind in ("last", "best", "previous"):
        path = folder / f"{kind}.safetensors"
        if not path.exists() or (kind == "previous" and "last" in good):
            continue
        try:
            good[kind] = read_checkpoint(path)
        except BadInput as error:
            problems.append(str(error))
    if problems and not good:
        raise BadInput("; ".join(problems))
    return max(good.values(), key=lambda state: int(state.values["iteration"]), default=None), problems


def _wrong_value(values: Any) -> str:
    """The name of a value that cannot be; empty where there is a meta-step, and all else is of its kind or not there,
    as a trainer asks for it."""
    if not isinstance(values, dict) or "iteration" not in values:
        return "the meta-step"
    for key in ("iteration", "tasks_seen", "best_iteration", "since_best", "best_diverged", "diverging"):
        if not _is_count(values.get(key, 0)):
            return key
    for key in ("validated_at", "upgrade_since", "first_meta_batch"):
        if values.get(key) is not None and not _is_count(values[key]):
            return key
    seconds, best, kind = values.get("seconds", 0), values.get("best"), values.get("upgrade_kind")
    if type(seconds) not in (int, float) or not 0 <= seconds < MOST:
        return "seconds"
    if best is not None and (type(best) not in (int, float) or not abs(best) <= 1e308):
        return "best"
    if not _are_live(values.get("best_settings") or {}):
        return "best_settings"
    if kind is not None and not (isinstance(kind, list) and len(kind) == 2 and all(map(_is_count, kind))):
        return "upgrade_kind"
    return "" if values.get("upgrade_outcome") in (None, "compiled", "failed") else "upgrade_outcome"


def _are_live(values: object) -> bool:
    """Whether `values` maps paths of live settings to numbers: no live setting has another type."""
    return isinstance(values, dict) and all(
        path in FIELDS and FIELDS[path].live and type(value) in (int, float) for path, value in values.items()
    )


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MOST


def _metadata(data: bytes, name: str) -> Mapping[str, str]:
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 0 < length <= min(len(data) - 8, LARGEST_HEADER):
        raise BadInput(f"{name} is not a whole checkpoint: its header claims {length:,} bytes of {len(data):,}")
    try:
        header: Any = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        raise BadInput(f"{name} is not a whole checkpoint: its header cannot be read") from None
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    keys = ("format", "values", "sha256")
    if isinstance(metadata, dict) and all(isinstance(metadata.get(key), str) for key in keys):
        if metadata["format"] == FORMAT:
            return metadata
        if newer := re.fullmatch(r"metatui-([1-9][0-9]{0,5})", metadata["format"]):
            sentence = f"was written by a newer metatui (format {newer[1]}, and this one reads {FORMAT[-1]})"
            raise BadInput(f"{name} {sentence}: update metatui")
        raise BadInput(f"{name} is a checkpoint of another format than {FORMAT}: {quote(metadata['format'])}")
    raise BadInput(f"{name} is not a checkpoint of metatui")


def _digest(tensors: Mapping[str, Tensor], values: str) -> str:
    import torch

    digest = hashlib.sha256(values.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
