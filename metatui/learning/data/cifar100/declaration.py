"""The part that the declarations of FC100 and CIFAR-FS share. This module does not import torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from metatui.learning.data.cifar100.classes import IMAGES, SPLITS
from metatui.learning.data.data_set import DataSet, command_unless_exists, size_violations
from metatui.utils import paths

if TYPE_CHECKING:
    import torch

    from metatui.config.settings import Settings
    from metatui.learning.data.cifar100.source import Cifar100Source


class Cifar100(DataSet):
    """Base class of the data sets made from CIFAR-100."""

    kind = "classification"

    @classmethod
    def load(cls, settings: Settings, device: torch.device) -> Cifar100Source:
        from metatui.learning.data.cifar100.source import Cifar100Source

        return Cifar100Source(cls.name, device=device)

    @classmethod
    def missing(cls) -> str:
        return command_unless_exists(paths.cifar100_cache(), "metatui data cifar100")

    @classmethod
    def violations(cls, settings: Settings) -> Iterator[tuple[str, str]]:
        classes = {split: len(names) for split, names in SPLITS[cls.name].items()}
        yield from size_violations(
            settings, classes=classes, images=sum(IMAGES.values()), of_class="a class of CIFAR-100"
        )
