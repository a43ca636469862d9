"""Declaration of the data set `folder`: the user's own images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from metatui.config.declarations import Group, setting
from metatui.learning.data.data_set import DataSet

if TYPE_CHECKING:
    import torch

    from metatui.config.settings import Settings
    from metatui.learning.data.image_folder.source import FolderSource


# One setting in a few lines reads better than one argument per line.
# fmt: off
class FolderOptions(Group):
    """Fractions of a folder's classes that a random split uses for validation and testing."""

    val_fraction: float = setting(
        0.16, "Validation fraction",
        "Fraction of the classes used for validation, unless folders or lists define the splits.", gt=0, le=0.9)
    test_fraction: float = setting(
        0.2, "Test fraction",
        "Fraction of the classes used for testing, unless folders or lists define the splits.", gt=0, le=0.9)
# fmt: on


class Folder(DataSet):
    """The user's own images, in one folder for each class."""

    name = "folder"
    title = "Your own images"
    kind = "classification"
    Options = FolderOptions
    uses = frozenset({"task.folder", "task.class_lists", "task.image_size", "task.image_mode", "task.split_seed"})

    @classmethod
    def load(cls, settings: Settings, device: torch.device) -> FolderSource:
        from metatui.learning.data.image_folder.source import load_folder

        return load_folder(settings, device)

    @classmethod
    def violations(cls, settings: Settings) -> Iterator[tuple[str, str]]:
        if not settings.task.folder:
            yield "task.folder", "the path of a folder of images if task.source = 'folder'"
        options = settings.options_of(cls.name, FolderOptions)
        if options.val_fraction + options.test_fraction > 0.9:
            yield "folder.val_fraction", "at most 0.9 together with folder.test_fraction, to leave classes for training"
