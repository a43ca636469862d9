"""metatui: the terminal laboratory for gradient-based meta-learning.

The same core without a terminal:

>>> import metatui
>>> preset = metatui.load_preset("quick")
>>> result = metatui.train(preset.settings, on_event=print)  # doctest: +SKIP
>>> metatui.evaluate(result.run, shots=5).final  # doctest: +SKIP

Everything is imported when it is first used, so `import metatui` costs next to nothing and imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metatui.errors import BadInput, MetatuiError, SettingsError
    from metatui.learning.engines import meta_gradient
    from metatui.presets import Preset
    from metatui.presets import load as load_preset
    from metatui.runs.comparison import compare
    from metatui.runs.library import Result, evaluate, train
    from metatui.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "BadInput",
    "MetatuiError",
    "Preset",
    "Result",
    "Settings",
    "SettingsError",
    "__version__",
    "compare",
    "evaluate",
    "load_preset",
    "meta_gradient",
    "train",
]

_WHERE = {
    "BadInput": ("metatui.errors", "BadInput"),
    "MetatuiError": ("metatui.errors", "MetatuiError"),
    "Preset": ("metatui.presets", "Preset"),
    "Result": ("metatui.runs.library", "Result"),
    "Settings": ("metatui.settings", "Settings"),
    "SettingsError": ("metatui.errors", "SettingsError"),
    "compare": ("metatui.runs.comparison", "compare"),
    "evaluate": ("metatui.runs.library", "evaluate"),
    "load_preset": ("metatui.presets", "load"),
    "meta_gradient": ("metatui.learning.engines", "meta_gradient"),
    "train": ("metatui.runs.library", "train"),
}


def __getattr__(name: str) -> Any:
    """PEP 562: finds what is not yet imported."""
    if name not in _WHERE:
        raise AttributeError(f"module 'metatui' has no attribute {name!r}")
    module, attribute = _WHERE[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
