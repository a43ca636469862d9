"""The `omniglot` source: characters, each drawn by 20 people (Lake et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metatui.learning.data import random
from metatui.learning.data.episodes import Split
from metatui.learning.data.image_source import SIDE, ImageSource
from metatui.learning.data.omniglot.cache import load
from metatui.learning.data.omniglot.manifest import Character, characters, split_characters
from metatui.learning.data.omniglot.splits import DRAWINGS
from metatui.learning.hardware.devices import to_device
from metatui.utils.errors import BadInput

_TURNED = ("", " ↻90", " ↻180", " ↻270")


def load_omniglot(split: str, *, rotations: bool, device: torch.device | str) -> OmniglotSource:
    """Return a source of tasks from the cached Omniglot images.

    Raises:
        BadInput: if the cache is missing or damaged, or if the split is unknown.
    """
    pixels, sha256 = load()
    source = OmniglotSource(pixels, characters(), split, rotations=rotations, device=device)
    source.fingerprint = f"pixels {sha256}"
    source.former_fingerprints = ("",)
    return source


class OmniglotSource(ImageSource):
    """Tasks of Omniglot's characters, with all drawings on the device.

    With rotations, each character turned clockwise by 90, 180 or 270 degrees is a separate class, in every split
    (Finn et al. 2017): class number = 4 * position of the character in its split + quarter turns.
    """

    name = "omniglot"

    def __init__(
        self,
        pixels: Tensor,
        characters: Sequence[Character],
        split: str,
        *,
        rotations: bool,
        device: torch.device | str,
    ) -> None:
        """Create the source.

        Args:
            pixels: uint8 [1623, 20, 28, 28], in which ink is 255.
            characters: the character in each row of `pixels`.
            split: `chapter`, `finn` or `lake`.
        """
        super().__init__(device)
        self._characters = characters
        self._numbers = split_characters(split)
        self.turns = 4 if rotations else 1
        # Rotate all drawings in advance, which takes 100 MB, so that an episode is a single look-up.
        turned = torch.stack([pixels.rot90(-turn, (2, 3)) for turn in range(self.turns)], 1)
        self._images = turned.flatten(0, 2).to(self.device)  # [character * turns * drawings, SIDE, SIDE]

    def class_count(self, split: Split) -> int:
        return self.turns * len(self._numbers[split])

    def class_name(self, split: Split, number: int) -> str:
        position, turns = divmod(number, self.turns)
        return f"{self._characters[int(self._numbers[split][position])]}{_TURNED[turns]}"

    def check_drawings(self, split: Split, shots: int, queries: int) -> None:
        if shots + queries > DRAWINGS:
            raise BadInput(
                f"task.shots is {shots} and task.queries is {queries}, but their sum must be at most {DRAWINGS}, the "
                "number of drawings of an Omniglot character"
            )

    def draw(self, split: Split, classes: Tensor, keys: Tensor, count: int) -> Tensor:
        position, turns = classes // self.turns, classes % self.turns
        first = (self._numbers[split][position] * self.turns + turns) * DRAWINGS
        rows = first.unsqueeze(1) + random.choose(keys, count, DRAWINGS)
        images = self._images.index_select(0, to_device(rows.flatten(), self.device)).reshape(*rows.shape, SIDE, SIDE)
        # A multiplication, because devices round a division by 255 differently.
        return images.to(torch.float32).mul_(1 / 255)
