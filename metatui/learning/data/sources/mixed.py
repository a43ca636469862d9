"""Declaration of the data set `mixed`: tasks from several folders of images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from metatui.config.declarations import Group, setting
from metatui.learning.data.data_set import DataSet

if TYPE_CHECKING:
    import torch

    from metatui.config.settings import Settings
    from metatui.learning.data.image_folder.mixed import MixedSource


class Mixed(DataSet):
    """Several folders of images. Each task comes from one of them, chosen with equal probability."""

    name = "mixed"
    title = "Mixed folders"
    kind = "classification"
    uses = frozenset({"task.image_size", "task.image_mode", "task.split_seed"})

    class Options(Group):
        folders: str = setting(
            "", "Folders", f"Image folders with the same structure as task.folder, separated by '{os.pathsep}'.",
            main=True, allowed=f"absolute paths of folders, starting with / or ~ and separated by '{os.pathsep}'",
            pattern=r"^([/~][^\x00]*)?$", max_length=32768)  # fmt: skip

    @classmethod
    def load(cls, settings: Settings, device: torch.device) -> MixedSource:
        from metatui.learning.data.image_folder.mixed import load_mixed

        return load_mixed(settings, cls.folders(settings), device)

    @classmethod
    def violations(cls, settings: Settings) -> Iterator[tuple[str, str]]:
        folders = cls.folders(settings)
        if len(folders) < 2 or len(set(folders)) < len(folders) or not all(path[:1] in ("/", "~") for path in folders):
            yield (
                "mixed.folders",
                f"absolute paths of two or more different folders, separated by '{os.pathsep}', if task.source = "
                "'mixed'",
            )

    @classmethod
    def folders(cls, settings: Settings) -> list[str]:
        value = str(settings.value("mixed.folders"))
        return [path.rstrip("/") or path for path in value.split(os.pathsep)] if value else []
