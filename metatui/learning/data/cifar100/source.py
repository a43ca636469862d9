"""Tasks of CIFAR-100 with the class split of FC100 or CIFAR-FS."""

from __future__ import annotations

import torch

from metatui.learning.data.cifar100 import classes
from metatui.learning.data.cifar100.cache import load
from metatui.learning.data.episodes import SPLITS
from metatui.learning.data.image_source import PackedSource


class Cifar100Source(PackedSource):
    """Tasks made from the cached CIFAR-100 images, with the class split of the data set `name`."""

    def __init__(self, name: str, *, device: torch.device | str) -> None:
        """Load the images.

        Raises:
            BadInput: if the cache is missing or damaged.
        """
        images, sha256 = load()
        self.name = name
        self.fingerprint = f"pixels {sha256}"
        each = images.shape[1]
        super().__init__(
            images.flatten(0, 1),
            [range(label * each, (label + 1) * each) for label in range(len(classes.CLASSES))],
            [label.replace("_", " ") for label in classes.CLASSES],
            {split: [classes.CLASSES.index(label) for label in classes.SPLITS[name][split]] for split in SPLITS},
            device=device,
        )
