"""Declaration of Omniglot (Lake et al. 2015)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from metatui.learning.data.data_set import DataSet
from metatui.learning.data.omniglot.splits import CHARACTERS, DRAWINGS

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
    def violations(cls, settings: Settings) -> Iterator[tuple[str, str]]:
        task = settings.task
        if task.queries >= DRAWINGS:
            yield "task.queries", f"less than {DRAWINGS}, the number of drawings of an Omniglot character"
            return
        most = DRAWINGS - task.queries
        for path, shots in {
            "task.shots": task.shots,
            "evaluation.shots": settings.evaluation.shots,
            "algorithm.train_shots": settings.algorithm.train_shots if settings.algorithm.name == "reptile" else 0,
        }.items():
            if shots > most:
                yield (
                    path,
                    f"at most {most} with task.queries = {task.queries}, because an Omniglot character has only "
                    f"{DRAWINGS} drawings",
                )
        fewest = (4 if task.rotations else 1) * min(CHARACTERS[task.split].values())
        if task.ways > fewest:
            yield "task.ways", f"at most {fewest}, the number of classes in the smallest part of the split"
