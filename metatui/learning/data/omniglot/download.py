"""Download of Omniglot."""

from __future__ import annotations

from pathlib import Path

from metatui.learning.data.downloads import downloading, torchvision_datasets
from metatui.learning.data.omniglot.manifest import OMNIGLOT
from metatui.utils import paths

_INSTEAD = (
    "download images_background.zip and images_evaluation.zip from github.com/brendenlake/omniglot yourself and run "
    "`metatui data omniglot --from FOLDER`"
)


def download(folder: Path | None = None) -> Path:
    """Download missing and incomplete zip files to `folder` (default: the downloads folder). Return the folder.

    The files are not extracted: torchvision would extract 32,460 files, and mistake an interrupted extraction for a
    complete one.

    Raises:
        MetatuiError: if the download fails, or a checksum is wrong.
    """
    folder = folder or paths.downloads_dir()
    with downloading("Omniglot", folder, _INSTEAD):
        for part in OMNIGLOT:
            fetch(part, folder / "omniglot-py")
    return folder


def fetch(part: str, folder: Path) -> None:
    """Download `<part>.zip` into `folder` unless it is already there with the right checksum."""
    datasets = torchvision_datasets()
    name = f"{part}.zip"
    url = f"{datasets.Omniglot.download_url_prefix}/{name}"
    datasets.utils.download_url(url, folder, name, datasets.Omniglot.zips_md5[part])
