"""Download of Omniglot through torchvision, which knows the addresses and checksums of its two zips."""

from __future__ import annotations

import contextlib
import http.client
import importlib
import sys
from pathlib import Path
from types import ModuleType

import torch

from metatui.learning.data.omniglot.manifest import OMNIGLOT
from metatui.utils import paths
from metatui.utils.errors import MetatuiError, quote
from metatui.utils.text import sanitize

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[torch.library.Library] = []  # an operator exists as long as the library that declares it


def download(folder: Path | None = None) -> Path:
    """Download the zips that are not yet complete in `folder` (default: the downloads folder) and return the folder.

    This does not unpack them: torchvision would unpack 32,460 files, and mistake an interrupted unpacking for a
    complete one.

    Raises:
        MetatuiError: if the download failed, or a checksum is wrong.
    """
    folder = folder or paths.downloads_dir()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
            for part in OMNIGLOT:
                fetch(part, folder / "omniglot-py")
    except (OSError, RuntimeError, http.client.HTTPException, ImportError, ValueError) as error:
        raise MetatuiError(
            f"Omniglot could not be downloaded to {quote(str(folder), 200)} ({sanitize(str(error))}): try again, or "
            "download images_background.zip and images_evaluation.zip from github.com/brendenlake/omniglot yourself "
            "and run `metatui data omniglot --from FOLDER`"
        ) from error
    return folder


def fetch(part: str, folder: Path) -> None:
    """Download `<part>.zip` into `folder` unless it is already there with the right checksum."""
    datasets = torchvision_datasets()
    name = f"{part}.zip"
    url = f"{datasets.Omniglot.download_url_prefix}/{name}"
    datasets.utils.download_url(url, folder, name, datasets.Omniglot.zips_md5[part])


def torchvision_datasets() -> ModuleType:
    """Import `torchvision.datasets`, even if torchvision's compiled operators do not fit the installed torch.

    The torchvision wheels on package indexes are built for CUDA. With a CPU build of torch their operators fail to load
    and the import raises RuntimeError. The data sets need no operators, so declaring their names is enough.

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
