"""Checkpoints: safetensors files whose header contains the values of the state as JSON, and a SHA-256 hash.

The hash covers the tensors and the values. The files contain no pickle, so reading them runs no code. A new checkpoint
is complete on disk before it replaces the old one, and the old `last` is kept as `previous`, so a run can always be
resumed from a complete checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from metatui.config.fields import FIELDS
from metatui.runs.storage.jsonl import read_range
from metatui.runs.storage.metrics import MAX_NUMBER
from metatui.utils.errors import BadInput, MetatuiError, quote
from metatui.utils.files import (
    make_own_folder,
    read_bounded,
    remove_leftovers,
    sync_directory,
    write_atomically,
    writing,
)

if TYPE_CHECKING:
    from torch import Tensor

    from metatui.learning.training.trainer_state import TrainerState

MAX_BYTES = 4 * 1024**3
MAX_HEADER_BYTES = 16 * 1024 * 1024
FORMAT = "metatui-1"


def _check_live(path: str) -> str:
    if path not in FIELDS or not FIELDS[path].live:
        raise ValueError("it must be a setting that can change during a run")
    return path


_Count = Annotated[int, Field(ge=0, le=MAX_NUMBER)]
_Live = Annotated[str, BeforeValidator(_check_live)]


class _Values(BaseModel):
    """Values in a checkpoint that `Trainer` reads. Other values are ignored."""

    model_config = ConfigDict(strict=True)

    iteration: _Count
    tasks_seen: _Count = 0
    seconds: Annotated[float, Field(ge=0, lt=MAX_NUMBER)] = 0
    best: Annotated[float, Field(ge=-1e308, le=1e308)] | None = None
    best_iteration: _Count = 0
    best_settings: dict[_Live, int | float] | None = None
    best_diverged: _Count = 0
    since_best: _Count = 0
    diverging: _Count = 0
    validated_at: _Count | None = None
    first_meta_batch: _Count | None = None
    upgrade_since: _Count | None = None
    upgrade_kind: Annotated[list[_Count], Field(min_length=2, max_length=2)] | None = None
    upgrade_outcome: Literal["compiled", "failed"] | None = None


def save_checkpoint(folder: Path, kind: str, state: TrainerState) -> None:
    """Write `state` to the file `<kind>.safetensors` in `folder`.

    Args:
        kind: `last` or `best`.

    Raises:
        WriteRefusedError: if the file cannot be written.
        MetatuiError: if the state is too large to be read again, or has a tensor of a type that safetensors lacks.
    """
    from safetensors.torch import save

    # Parameters may share memory with the best parameters, which the format cannot represent.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.tensors.items()}
    values = json.dumps(state.values, sort_keys=True)
    metadata = {"format": FORMAT, "values": values, "sha256": _digest(tensors, values)}
    try:
        data = save(tensors, metadata=metadata)
    except KeyError as error:  # the type of a tensor, such as torch.complex128
        raise MetatuiError(f"a checkpoint cannot contain tensors of type {error.args[0]}") from None
    if len(data) > MAX_BYTES:
        raise MetatuiError(f"a checkpoint of this model has {len(data):,} bytes, but at most {MAX_BYTES:,} are allowed")
    target = folder / f"{kind}.safetensors"
    fresh = target.with_suffix(".new")
    write_atomically(fresh, data)
    with writing(target):
        if kind == "last" and target.exists():
            os.replace(target, folder / "previous.safetensors")
        os.replace(fresh, target)
        sync_directory(folder)


def clean_checkpoints(folder: Path) -> None:
    """Remove temporary files left by a process that was killed while it saved a checkpoint.

    The caller must hold the run's lock.

    Raises:
        BadInput: if the folder is a symbolic link.
        WriteRefusedError: if a file cannot be removed.
    """
    make_own_folder(folder)
    with writing(folder):
        fresh = [f"{kind}.new" for kind in ("last", "best")]
        for name in fresh:
            (folder / name).unlink(missing_ok=True)
    remove_leftovers(folder, fresh)


def read_checkpoint(path: Path) -> TrainerState:
    """Load the training state from the checkpoint `path` onto the CPU.

    Raises:
        BadInput: if the file is not an intact checkpoint.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    from metatui.learning.training.trainer_state import TrainerState

    name = quote(str(path), 200)
    data = read_bounded(path, MAX_BYTES)
    metadata = _metadata(data, name)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError):
        raise BadInput(f"{name} is not an intact checkpoint: its tensors cannot be read") from None
    values = metadata["values"]
    if _digest(tensors, values) != metadata["sha256"]:
        raise BadInput(f"{name} is not an intact checkpoint: its SHA-256 does not match")
    try:
        state = TrainerState(tensors=tensors, values=json.loads(values))
        _Values.model_validate(state.values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "its values"
        raise BadInput(f"{name} is not a metatui checkpoint: {quote(where)[1:-1]} is invalid") from None
    except (ValueError, RecursionError):
        raise BadInput(f"{name} is not a metatui checkpoint: its values cannot be read") from None
    return state


def newest_checkpoint(folder: Path) -> tuple[TrainerState | None, list[str]]:
    """Return the newest intact checkpoint in `folder` (None if there is none) and a message for each damaged one.

    Raises:
        BadInput: if checkpoints exist, but none is intact.
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


def saved_meta_step(folder: Path) -> int | None:
    """Return the meta-step of the newest checkpoint, read from the headers alone; None if there is no checkpoint."""
    found = []
    for kind in ("last", "best", "previous"):
        path = folder / f"{kind}.safetensors"
        start = read_range(path, 0, 8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if 0 < length <= MAX_HEADER_BYTES:
            with suppress(BadInput, ValueError, RecursionError):
                values = json.loads(_metadata(start + read_range(path, 8, length), str(path))["values"])
                found.append(_Values.model_validate(values).iteration)
    return max(found, default=None)


def _metadata(data: bytes, name: str) -> Mapping[str, str]:
    if not data:
        raise BadInput(f"{name} is not an intact checkpoint: it is empty")
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 0 < length <= min(len(data) - 8, MAX_HEADER_BYTES):
        raise BadInput(
            f"{name} is not an intact checkpoint: according to the file, its header has {length:,} bytes, but "
            f"the whole file has {len(data):,} bytes"
        )
    try:
        header: Any = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        raise BadInput(f"{name} is not an intact checkpoint: its header cannot be read") from None
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    keys = ("format", "values", "sha256")
    if isinstance(metadata, dict) and all(isinstance(metadata.get(key), str) for key in keys):
        if metadata["format"] == FORMAT:
            return metadata
        if newer := re.fullmatch(r"metatui-([1-9][0-9]{0,5})", metadata["format"]):
            sentence = f"was written by a newer version (format {newer[1]}, but this version reads {FORMAT[-1]})"
            raise BadInput(f"{name} {sentence}: update metatui")
        raise BadInput(f"{name} has format {quote(metadata['format'])}, but must have {FORMAT}")
    raise BadInput(f"{name} is not a metatui checkpoint")


def _digest(tensors: Mapping[str, Tensor], values: str) -> str:
    import torch

    digest = hashlib.sha256(values.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
