"""Sources of tasks by the name in `task.source`."""

from __future__ import annotations

import torch

from metatui.config.settings import Settings
from metatui.learning.data.episodes import TaskSource


def make_source(settings: Settings, device: torch.device) -> TaskSource:
    """Return the source of tasks that `settings` select, with its data on `device`.

    Raises:
        BadInput: if the data are missing, damaged, or too few for the episodes.
    """
    match settings.task.source:
        case "sinusoid":
            from metatui.learning.data.sinusoid import SinusoidSource

            return SinusoidSource()
        case "glyphs":
            from metatui.learning.data.glyphs import GlyphSource

            return GlyphSource(device)
        case "omniglot":
            from metatui.learning.data.omniglot.source import load_omniglot

            return load_omniglot(settings.task.split, rotations=settings.task.rotations, device=device)
        case "folder":
            from metatui.learning.data.image_folder.source import load_folder

            return load_folder(settings, device)
