"""Declaration of the generated glyphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metatui.learning.data.data_set import DataSet

if TYPE_CHECKING:
    import torch

    from metatui.config.settings import Settings
    from metatui.learning.data.glyphs.source import GlyphSource


class Glyphs(DataSet):
    """Characters that look handwritten, generated on demand."""

    name = "glyphs"
    title = "Glyphs"
    kind = "classification"

    @classmethod
    def load(cls, settings: Settings, device: torch.device) -> GlyphSource:
        from metatui.learning.data.glyphs.source import GlyphSource

        return GlyphSource(device)
