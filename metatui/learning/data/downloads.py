"""Downloads of data sets through torchvision, which knows their addresses and checksums."""

from __future__ import annotations

import contextlib
import http.client
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import torch

from metatui.utils.errors import MetatuiError, quote
from metatui.utils.text import sanitize

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[torch.library.Library] = []  # an operator exists as long as the library that declares it


@contextlib.contextmanager
def downloading(title: str, folder: Path, instead: str) -> Iterator[None]:
    """Report download errors in one sentence, and redirect torchvision's messages to standard error.

    Args:
        title: name of the data set in messages.
        folder: folder to which the data set is downloaded.
        instead: alternative that the error message suggests, worded to follow "try again, or".

    Raises:
        MetatuiError: if the download fails, or a checksum is wrong.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
            yield
    except (OSError, RuntimeError, http.client.HTTPException, ImportError, ValueError) as error:
        raise MetatuiError(
            f"{title} could not be downloaded to {quote(str(folder), 200)} ({sanitize(str(error))}): try again, or "
            f"{instead}"
        ) from error


def torchvision_datasets() -> ModuleType:
    """Import `torchvision.datasets`, even if torchvision's operators were built for another build of torch.

    The torchvision wheels on package indexes are built for CUDA. With a CPU build of torch, their operators fail to
    load, and the import raises RuntimeError. The data sets do not use the operators, so it is enough to declare their
    names.

    Raises:
        ImportError: if torchvision is not installed.
    """
    try:
        return importlib.import_module("torchvision.datasets")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    if not _libraries:
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for schema in _SCHEMAS:
            library.define(schema)  # type: ignore[no-untyped-call]
        _libraries.append(library)
    return importlib.import_module("torchvision.datasets")
