"""The CIFAR-100 cache: all images in one file, which is verified each time it is read."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from metatui.learning.data.cifar100.classes import CLASSES, IMAGES
from metatui.learning.data.cifar100.files import ARCHIVE, SIDE, read
from metatui.learning.data.downloads import downloading, torchvision_datasets
from metatui.learning.data.pixel_cache import read_data_set, write_data_set
from metatui.utils import paths

_INSTEAD = (
    f"download {ARCHIVE} from www.cs.toronto.edu/~kriz/cifar.html yourself and run "
    "`metatui data cifar100 --from FOLDER`"
)
_METADATA = {"format": "metatui cifar100 1"}


def download() -> Path:
    """Download the published archive to the downloads folder, unless it is already there. Return the folder.

    Raises:
        MetatuiError: if the download fails, or the checksum is wrong.
    """
    folder = paths.downloads_dir()
    with downloading("CIFAR-100", folder, _INSTEAD):
        datasets = torchvision_datasets()
        datasets.utils.download_url(datasets.CIFAR100.url, folder, ARCHIVE, datasets.CIFAR100.tgz_md5)
    return folder


def pack(folder: Path) -> None:
    """Read the published files in `folder` and write the cache.

    Raises:
        BadInput: if a published file is missing, damaged or unexpected.
        WriteRefusedError: if the cache cannot be written. An existing cache is kept.
    """
    write_data_set(paths.cifar100_cache(), read(folder), _METADATA)


def load() -> tuple[Tensor, str]:
    """Return all images, uint8 [100, images, 3, 32, 32] sorted by class, and the SHA-256 of their pixels.

    Raises:
        BadInput: if the cache is missing, damaged or in another format.
    """
    shape = (len(CLASSES), sum(IMAGES.values()), 3, SIDE, SIDE)
    path = paths.cifar100_cache()
    return read_data_set(path, shape, _METADATA, title="CIFAR-100", command="metatui data cifar100")
