"""Pretrained weights: tensors of a safetensors file, copied to the model parameters with the same names.

A safetensors file contains no code. Files of pickled objects (.pt, .pth, .ckpt) can run code, so they are not read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from metatui.utils.errors import BadInput, quote
from metatui.utils.files import read_bounded
from metatui.utils.text import sanitize

MAX_BYTES = 4 * 1024**3
"""Maximum size of a weights file, in bytes."""

LISTED = 4
"""Maximum number of tensors that one list in `LoadedWeights.report` names."""

FIRST = ("", "best/", "theta/")
"""Prefixes that are preferred, in this order, if the same number of tensors fits with several prefixes. In a metatui
checkpoint, the best parameters have the prefix `best/`, and the last ones `theta/`. The tensors of the outer
optimiser and the learned inner learning rates have the same shapes as the parameters, but longer prefixes."""

FROZEN = "frozen/"
"""Prefix that a metatui checkpoint gives to the names of tensors that are never learned."""


@dataclass(frozen=True)
class LoadedWeights:
    """The result of loading weights."""

    digest: str
    """SHA-256 of the file, in hexadecimal."""
    report: str
    """Sentence that states which tensors were loaded and which were not."""
    is_complete: bool
    """Whether all parameters and buffers of the model were loaded."""


def load_weights(model: nn.Module, path: str) -> LoadedWeights:
    """Copy the tensors of a safetensors file to the parameters and buffers with the same names in `model`.

    Names in the file may have a common prefix, such as `module.`, `encoder.`, or `best/` in a metatui checkpoint.
    Tensors of a different shape, such as the head for a different number of classes, are left out.

    Args:
        path: the setting `model.weights`.

    Raises:
        BadInput: if the file cannot be read, is not an intact safetensors file, or has no tensor that fits, or if a
            tensor that fits has values that are not finite.
    """
    tensors, digest = _read(path)
    slots = model.state_dict()
    is_checkpoint = any(name.startswith("theta/") for name in tensors)
    frozen = [name for name in sorted(tensors) if is_checkpoint and name.startswith(FROZEN)]
    prefix = _prefix({name: t for name, t in tensors.items() if name not in frozen}, slots)
    named = {name[len(prefix) :]: t for name, t in sorted(tensors.items()) if name.startswith(prefix)}
    named = {name.removeprefix(FROZEN): tensors[name] for name in frozen} | named
    fitting = {name: t for name, t in named.items() if name in slots and _fits(t, slots[name])}
    wrong = {name: t for name, t in named.items() if name in slots and name not in fitting}
    if not fitting:
        ours, theirs = _listed(map(_described, slots, slots.values())), _listed(map(_described, named, named.values()))
        raise BadInput(
            f"model.weights is {quote(path, 200)}, but must be a file with tensors that fit the model: the file has "
            f"{theirs or 'none'}, and the model has {ours}"
        )
    fitting = {name: t.to(slots[name].dtype) for name, t in fitting.items()}
    for name, t in fitting.items():
        if not torch.isfinite(t).all():
            sentence = f"but all its values must be finite numbers, and some values of {sanitize(name)} are not"
            raise BadInput(f"model.weights is {quote(path, 200)}, {sentence}")
    with torch.no_grad():
        for name, t in fitting.items():
            slots[name].copy_(t)
    lists = {
        "not in the file": [name for name in slots if name not in named],
        "not in the model": [sanitize(name) for name in named if name not in slots],
        "of a different shape": [
            f"{_described(name, t)} instead of {list(slots[name].shape)}" for name, t in wrong.items()
        ],
    }
    file, matched = quote(Path(path).name, 100), f"{len(fitting)} of {len(slots)} tensors of the model"
    parts = [f"model.weights: {matched} loaded from {file} (SHA-256 {digest[:12]})"]
    if prefix:
        parts[0] += f", where their names start with {quote(prefix)}"
    parts += [f"{what}: {_listed(names)}" for what, names in lists.items() if names]
    return LoadedWeights(digest, "; ".join(parts), is_complete=len(fitting) == len(slots))


def check_weights(path: str, digest: str, saved: str) -> None:
    """Check that the weights file has not changed since the run started.

    Args:
        path: value of the setting `model.weights`.
        digest: SHA-256 of the current file.
        saved: SHA-256 of the file when the run started.

    Raises:
        BadInput: if the file has changed.
    """
    if digest != saved:
        raise BadInput(
            f"model.weights is {quote(path, 200)}, but this file is no longer the one that the run started from "
            f"(SHA-256 {sanitize(saved, limit=13)}): restore the original file, or start a new run"
        )


def _read(path: str) -> tuple[dict[str, Tensor], str]:
    """Return the tensors in a file, and the SHA-256 of the file."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = read_bounded(Path(path), MAX_BYTES)
    except BadInput as error:
        raise BadInput(f"model.weights is {error}") from None
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError, TypeError, MemoryError):
        raise BadInput(
            f"model.weights is {quote(path, 200)}, but must be an intact safetensors file: write it with "
            "safetensors.torch.save_file"
        ) from None
    return tensors, hashlib.sha256(data).hexdigest()


def _prefix(tensors: Mapping[str, Tensor], slots: Mapping[str, Tensor]) -> str:
    """Find the prefix of tensor names for which the largest number of tensors in the file fits the model."""
    counts: dict[str, int] = dict.fromkeys(FIRST, 0)
    for name, t in tensors.items():
        for end, slot in slots.items():
            prefix = name.removesuffix(end)
            if name.endswith(end) and prefix[-1:] in ("", ".", "/") and _fits(t, slot):
                counts[prefix] = counts.get(prefix, 0) + 1
    return max(counts, key=lambda prefix: counts[prefix])


def _fits(t: Tensor, slot: Tensor) -> bool:
    return t.shape == slot.shape and t.is_floating_point() == slot.is_floating_point()


def _described(name: str, t: Tensor) -> str:
    kind = "" if t.is_floating_point() else f"{str(t.dtype).removeprefix('torch.')} "
    return f"{sanitize(name)} {kind}{list(t.shape)}"


def _listed(names: Iterable[str]) -> str:
    """List the first `LISTED` names, and say how many more there are."""
    every = list(names)
    more = f" and {len(every) - LISTED} more" if len(every) > LISTED else ""
    return ", ".join(every[:LISTED]) + more
