"""Omniglot as Lake, Salakhutdinov and Tenenbaum (2015) published it: alphabets, characters, drawings, files.

A drawing is the file `<part>/<alphabet>/character<NN>/<anything>_<DD>.png`, as torchvision and the authors lay it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

DRAWINGS = 20
"""Drawings of each character, one by each of twenty people."""

IMAGE_SIDE = 105
"""Height and width of a published drawing in pixels."""


@dataclass(frozen=True)
class Character:
    part: str
    """`images_background` or `images_evaluation`."""
    alphabet: str
    number: int
    """From 1, within its alphabet."""

    @property
    def folder(self) -> str:
        return character_folder(self.part, self.alphabet, self.number)

    def __str__(self) -> str:
        return f"{self.alphabet.replace('_', ' ')} {self.number}"


def character_folder(part: str, alphabet: str, number: int) -> str:
    """Where the drawings of a character are, below the data folder."""
    return f"{part}/{alphabet}/character{number:02d}"


Layout = Mapping[str, Mapping[str, int]]
"""Characters in each alphabet of each part."""

OMNIGLOT: Layout = MappingProxyType(
    {
        "images_background": {
            "Alphabet_of_the_Magi": 20,
            "Anglo-Saxon_Futhorc": 29,
            "Arcadian": 26,
            "Armenian": 41,
            "Asomtavruli_(Georgian)": 40,
            "Balinese": 24,
            "Bengali": 46,
            "Blackfoot_(Canadian_Aboriginal_Syllabics)": 14,
            "Braille": 26,
            "Burmese_(Myanmar)": 34,
            "Cyrillic": 33,
            "Early_Aramaic": 22,
            "Futurama": 26,
            "Grantha": 43,
            "Greek": 24,
            "Gujarati": 48,
            "Hebrew": 22,
            "Inuktitut_(Canadian_Aboriginal_Syllabics)": 16,
            "Japanese_(hiragana)": 52,
            "Japanese_(katakana)": 47,
            "Korean": 40,
            "Latin": 26,
            "Malay_(Jawi_-_Arabic)": 40,
            "Mkhedruli_(Georgian)": 41,
            "N_Ko": 33,
            "Ojibwe_(Canadian_Aboriginal_Syllabics)": 14,
            "Sanskrit": 42,
            "Syriac_(Estrangelo)": 23,
            "Tagalog": 17,
            "Tifinagh": 55,
        },
        "images_evaluation": {
            "Angelic": 20,
            "Atemayar_Qelisayer": 26,
            "Atlantean": 26,
            "Aurek-Besh": 26,
            "Avesta": 26,
            "Ge_ez": 26,
            "Glagolitic": 45,
            "Gurmukhi": 45,
            "Kannada": 41,
            "Keble": 26,
            "Malayalam": 47,
            "Manipuri": 40,
            "Mongolian": 30,
            "Old_Church_Slavonic_(Cyrillic)": 45,
            "Oriya": 46,
            "Sylheti": 28,
            "Syriac_(Serto)": 23,
            "Tengwar": 25,
            "Tibetan": 42,
            "ULOG": 26,
        },
    }
)


def characters(layout: Layout = OMNIGLOT) -> tuple[Character, ...]:
    """Every character of `layout`, in the order that their numbers in splits and in the packed file mean."""
    return tuple(
        Character(part, alphabet, number)
        for part, alphabets in layout.items()
        for alphabet, count in alphabets.items()
        for number in range(1, count + 1)
    )
