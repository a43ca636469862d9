"""metatui, a terminal application and library for few-shot meta-learning.

Python API:

>>> import metatui
>>> preset = metatui.load_preset("quick")
>>> result = metatui.train(preset.settings, on_event=print)  # doctest: +SKIP
>>> metatui.evaluate(result.run, shots=5).final  # doctest: +SKIP
>>> model = metatui.load_model(result.run)  # doctest: +SKIP
>>> model.adapt(support_x, support_y).predict(query_x)  # doctest: +SKIP

`metatui plugin` prints a file with a model, an algorithm or a data set, as a starting point for your own;
`metatui.load_plugin` loads it.

Names are imported on first use, so that `import metatui` is fast and does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metatui.config.plugins import load_plugin
    from metatui.config.presets import Preset
    from metatui.config.presets import load as load_preset
    from metatui.config.settings import Settings
    from metatui.learning.engines.any_module.meta_gradient import meta_gradient
    from metatui.runs.analysis.comparison import compare
    from metatui.runs.api import Result, evaluate, load_model, train
    from metatui.utils.errors import BadInput, MetatuiError, SettingsError

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
    "load_model",
    "load_plugin",
    "load_preset",
    "meta_gradient",
    "train",
]

_ORIGINS = {
    "BadInput": ("metatui.utils.errors", "BadInput"),
    "MetatuiError": ("metatui.utils.errors", "MetatuiError"),
    "Preset": ("metatui.config.presets", "Preset"),
    "Result": ("metatui.runs.api", "Result"),
    "Settings": ("metatui.config.settings", "Settings"),
    "SettingsError": ("metatui.utils.errors", "SettingsError"),
    "compare": ("metatui.runs.analysis.comparison", "compare"),
    "evaluate": ("metatui.runs.api", "evaluate"),
    "load_model": ("metatui.runs.api", "load_model"),
    "load_plugin": ("metatui.config.plugins", "load_plugin"),
    "load_preset": ("metatui.config.presets", "load"),
    "meta_gradient": ("metatui.learning.engines.any_module.meta_gradient", "meta_gradient"),
    "train": ("metatui.runs.api", "train"),
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _ORIGINS:
        raise AttributeError(f"module 'metatui' has no attribute {name!r}")
    module, attribute = _ORIGINS[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
