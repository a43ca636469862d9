"""Declaration of Omniglot (Lake et al. 2015)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from metatui.learning.data.data_set import DataSet, command_unless_exists, size_violations
from metatui.learning.data.omniglot.splits import CHARACTERS, DRAWINGS
from metatui.utils import paths

if TYPE_CHECKING:
    import torch

    from metatui.config.settings import Settings
    from metatui.learning.data.omniglot.source import OmniglotSource


class Omniglot(DataSet):
    """Characters of 50 alphabets, each drawn by 20 people."""

    name = "omniglot"
    title = "Omniglot"
    kind = "classification"
    uses = frozenset({"task.split", "task.rotations"})

    @classmethod
    def load(cls, settings: Settings, device: torch.device) -> OmniglotSource:
        from metatui.learning.data.omniglot.source import load_omniglot

        return load_omniglot(settings.task.split, rotations=settings.task.rotations, device=device)

    @classmethod
    def missing(cls) -> str:
        return command_unless_exists(paths.omniglot_cache(), "metatui data omniglot")

    @classmethod
    def violations(cls, settings: Settings) -> Iterator[tuple[str, str]]:
        turns = 4 if settings.task.rotations else 1
        classes = {part: turns * count for part, count in CHARACTERS[settings.task.split].items()}
        yield from size_violations(
            settings, classes=classes, images=DRAWINGS, of_class="an Omniglot character", noun="drawings"
        )
