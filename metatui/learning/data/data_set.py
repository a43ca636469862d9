"""Declaration of a data set."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from metatui.config.registry import DATA, Component, Kind

if TYPE_CHECKING:
    import torch

    from metatui.config.settings import Settings
    from metatui.learning.data.episodes import TaskSource


class DataSet(Component):
    """Declaration of a data set. The tasks themselves come from the `TaskSource` that `load` returns."""

    registry = DATA
    kind: ClassVar[Kind]
    """Whether tasks are regression, or N-way K-shot classification of images."""
    loss_of: ClassVar[str] = ""
    """What the loss is of, if not of the data as they are: `standardised targets`. Text with a loss names it."""

    @classmethod
    @abstractmethod
    def load(cls, settings: Settings, device: torch.device) -> TaskSource:
        """Return the source of tasks that `settings` select, with its data on `device`.

        Raises:
            BadInput: if the data are missing, damaged, or too few for the episodes.
        """
