"""How Omniglot's characters are divided into training, validation and test, by name, for ever."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from metatui.learning.data import random
from metatui.learning.data.episodes import Split
from metatui.learning.data.omniglot.manifest import characters
from metatui.utils.errors import BadInput, quote

SIZES: Mapping[str, Mapping[Split, int]] = {
    "chapter": {"train": 1200, "val": 200, "test": 223},
    "finn": {"train": 1100, "val": 100, "test": 423},
}
"""Splits that are drawn at random over all characters, as Finn et al. (2017) do, and their sizes."""

LAKE_VALIDATION = ("Balinese", "Greek", "Latin", "Mkhedruli_(Georgian)", "Tagalog")
"""Background alphabets that `lake` keeps for validation; the authors' own division has none."""


def split_characters(name: str) -> dict[Split, Tensor]:
    """Character numbers (positions in `omniglot_layout.characters()`) of each part of a split, int64, ascending.

    `chapter` and `finn` mix the alphabets. `lake` keeps alphabets whole: background alphabets are trained on,
    but for five, and the evaluation alphabets are the test (Lake et al. 2015). Raises BadInput for other names.
    """
    everyone = characters()
    if name == "lake":
        part: list[Split] = [
            "test" if c.part == "images_evaluation" else "val" if c.alphabet in LAKE_VALIDATION else "train"
            for c in everyone
        ]
        return {s: torch.tensor([i for i, p in enumerate(part) if p == s]) for s in ("train", "val", "test")}
    if name not in SIZES:
        raise BadInput(f"task.split is {quote(name)}, but must be one of chapter, finn or lake")
    sizes = SIZES[name]
    key = random.keys(0, f"omniglot/split/{name}", torch.tensor(0))
    order = random.choose(key, len(everyone), len(everyone))
    train, val, test = order.tensor_split([sizes["train"], sizes["train"] + sizes["val"]])
    return {"train": train.sort().values, "val": val.sort().values, "test": test.sort().values}
