"""Where episodes come from."""

from __future__ import annotations

import torch

from metatui.learning.episodes import TaskSource
from metatui.settings import Settings


def make_source(settings: Settings, device: torch.device) -> TaskSource:
    """The source of tasks that `settings` name, its data on `device`. Raises BadInput where its data is not there."""
    match settings.task.source:
        case "sinusoid":
            from metatui.learning.tasks.sinusoid import SinusoidSource

            return SinusoidSource()
        case "glyphs":
            from metatui.learning.tasks.glyphs import GlyphSource

            return GlyphSource(device)
        case "omniglot":
            from metatui.learning.tasks.omniglot import load_omniglot

            return load_omniglot(settings.task.split, rotations=settings.task.rotations, device=device)
        case "folder":
            from metatui.learning.tasks.folder import load_folder

            return load_folder(settings, device)
