"""Declaration of the sine waves of Finn et al. (2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metatui.learning.data.data_set import DataSet

if TYPE_CHECKING:
    import torch

    from metatui.config.settings import Settings
    from metatui.learning.data.sinusoid import SinusoidSource


class Sinusoid(DataSet):
    """Sine waves y = A sin(x - φ), with A from 0.1 to 5, φ from 0 to π and x from -5 to 5."""

    name = "sinusoid"
    title = "Sinusoids"
    kind = "regression"

    @classmethod
    def load(cls, settings: Settings, device: torch.device) -> SinusoidSource:
        from metatui.learning.data.sinusoid import SinusoidSource

        return SinusoidSource()
