"""Declaration of a folder of the user's own images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from metatui.learning.data.data_set import DataSet

if TYPE_CHECKING:
    import torch

    from metatui.config.settings import Settings
    from metatui.learning.data.image_folder.source import FolderSource


class Folder(DataSet):
    """The user's own images, in one folder for each class."""

    name = "folder"
    title = "Your own images"
    kind = "classification"
    uses = frozenset({"task.folder", "task.class_lists", "task.image_size", "task.image_mode", "task.split_seed"})

    @classmethod
    def load(cls, settings: Settings, device: torch.device) -> FolderSource:
        from metatui.learning.data.image_folder.source import load_folder

        return load_folder(settings, device)

    @classmethod
    def violations(cls, settings: Settings) -> Iterator[tuple[str, str]]:
        if not settings.task.folder:
            yield "task.folder", "the path of a folder of images with task.source = 'folder'"
