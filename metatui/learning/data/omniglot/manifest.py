"""The contents of Omniglot as published by Lake, Salakhutdinov and Tenenbaum (2015), and its class splits.

A drawing is the file `<part>/<alphabet>/character<NN>/<anything>_<DD>.png`, as in the authors' zip files and in
torchvision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from metatui.learning.data import random
from metatui.learning.data.episodes import SPLITS, Split
from metatui.learning.data.omniglot.splits import CHARACTERS
from metatui.utils.errors import BadInput, quote

IMAGE_SIDE = 105
"""Height and width of each published drawing, in pixels."""

LAKE_VALIDATION = ("Balinese", "Greek", "Latin", "Mkhedruli_(Georgian)", "Tagalog")
"""Background alphabets that the `lake` split uses for validation; the authors' own split has no validation part."""

Alphabets = Mapping[str, int]
"""Number of characters in each alphabet."""

Layout = Mapping[str, Alphabets]
"""The alphabets of each part of the data set."""


def _alphabets(text: str) -> Alphabets:
    items = (item.rsplit(maxsplit=1) for item in text.split(","))
    return {name.strip(): int(count) for name, count in items}


OMNIGLOT: Layout = {
    "images_background": _alphabets(
        """
        Alphabet_of_the_Magi 20, Anglo-Saxon_Futhorc 29, Arcadian 26, Armenian 41, Asomtavruli_(Georgian) 40,
        Balinese 24, Bengali 46, Blackfoot_(Canadian_Aboriginal_Syllabics) 14, Braille 26, Burmese_(Myanmar) 34,
        Cyrillic 33, Early_Aramaic 22, Futurama 26, Grantha 43, Greek 24, Gujarati 48, Hebrew 22,
        Inuktitut_(Canadian_Aboriginal_Syllabics) 16, Japanese_(hiragana) 52, Japanese_(katakana) 47, Korean 40,
        Latin 26, Malay_(Jawi_-_Arabic) 40, Mkhedruli_(Georgian) 41, N_Ko 33,
        Ojibwe_(Canadian_Aboriginal_Syllabics) 14, Sanskrit 42, Syriac_(Estrangelo) 23, Tagalog 17, Tifinagh 55
        """
    ),
    "images_evaluation": _alphabets(
        """
        Angelic 20, Atemayar_Qelisayer 26, Atlantean 26, Aurek-Besh 26, Avesta 26, Ge_ez 26, Glagolitic 45,
        Gurmukhi 45, Kannada 41, Keble 26, Malayalam 47, Manipuri 40, Mongolian 30,
        Old_Church_Slavonic_(Cyrillic) 45, Oriya 46, Sylheti 28, Syriac_(Serto) 23, Tengwar 25, Tibetan 42, ULOG 26
        """
    ),
}


@dataclass(frozen=True)
class Character:
    part: str
    """Name of the part: `images_background` or `images_evaluation`."""
    alphabet: str
    number: int
    """Position of the character in its alphabet, starting at 1."""

    @property
    def folder(self) -> str:
        """Path of the folder with the drawings of this character, relative to the data folder."""
        return character_folder(self.part, self.alphabet, self.number)

    def __str__(self) -> str:
        return f"{self.alphabet.replace('_', ' ')} {self.number}"


def character_folder(part: str, alphabet: str, number: int) -> str:
    """Return the path of the folder with a character's drawings, relative to the data folder."""
    return f"{part}/{alphabet}/character{number:02d}"


def characters(layout: Layout = OMNIGLOT) -> tuple[Character, ...]:
    """Return the characters of `layout`. Splits and caches refer to characters by their position in this list."""
    return tuple(
        Character(part, alphabet, number)
        for part, alphabets in layout.items()
        for alphabet, count in alphabets.items()
        for number in range(1, count + 1)
    )


def split_characters(name: str) -> dict[Split, Tensor]:
    """Return the characters in each part of the split `name`, as ascending int64 positions in `characters()`.

    `chapter` and `finn` are drawn at random from all alphabets, as in Finn et al. (2017). `lake` keeps alphabets whole:
    the background alphabets are used for training, except five that are used for validation, and the evaluation
    alphabets are used for testing (Lake et al. 2015).

    Raises:
        BadInput: if there is no split of this name.
    """
    everyone = characters()
    if name == "lake":
        part: list[Split] = [
            "test" if c.part == "images_evaluation" else "val" if c.alphabet in LAKE_VALIDATION else "train"
            for c in everyone
        ]
        return {split: torch.tensor([i for i, p in enumerate(part) if p == split]) for split in SPLITS}
    if name not in CHARACTERS:
        raise BadInput(f"task.split is {quote(name)}, but must be one of {', '.join(CHARACTERS)}")
    order = random.choose(random.keys(0, f"omniglot/split/{name}", torch.tensor(0)), len(everyone), len(everyone))
    parts = torch.split(order, list(CHARACTERS[name].values()))
    return {split: numbers.sort().values for split, numbers in zip(SPLITS, parts, strict=True)}
