"""torchvision, also where its compiled half does not fit the installed torch.

The torchvision wheels of package indices are built for CUDA. Beside a torch for CPUs their compiled operators fail to
load, silently, and then the import stumbles over the operators' names. Its data sets need none of them.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept: list[torch.library.Library] = []  # the names last as long as the library that declares them


def torchvision_datasets() -> ModuleType:
    """The module `torchvision.datasets`. Raises ImportError."""
    try:
        return importlib.import_module("torchvision.datasets")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    if not _kept:
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for schema in _SCHEMAS:
            library.define(schema)  # type: ignore[no-untyped-call]
        _kept.append(library)
    return importlib.import_module("torchvision.datasets")
