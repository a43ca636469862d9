"""Omniglot's two zips, fetched through torchvision, which knows their addresses and their checksums."""

from __future__ import annotations

import contextlib
import http.client
import sys
from pathlib import Path

from metatui.learning.data.omniglot.manifest import OMNIGLOT
from metatui.utils import paths
from metatui.utils.errors import MetatuiError, quote
from metatui.utils.text import sanitize


def download(folder: Path | None = None) -> Path:
    """Fetches the zips that are not yet in `folder` (default: in the downloads folder) whole, and returns it.

    Only the zips: torchvision would also unpack 32,460 files, and take them for whole where it was interrupted.

    Raises:
        MetatuiError: they cannot be fetched, or what arrives has not the checksum that torchvision expects.
    """
    folder = folder or paths.downloads_dir()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
            for part in OMNIGLOT:
                fetch(part, folder / "omniglot-py")
    except (OSError, RuntimeError, http.client.HTTPException, ImportError, ValueError) as error:
        raise MetatuiError(
            f"Omniglot could not be downloaded to {quote(str(folder), 200)} ({sanitize(str(error))}): try again, or "
            "fetch images_background.zip and images_evaluation.zip of github.com/brendenlake/omniglot some other way "
            "and run `metatui data omniglot --from FOLDER`"
        ) from error
    return folder


def fetch(part: str, folder: Path) -> None:
    """Downloads `<part>.zip` into `folder` unless it is there with the right checksum."""
    from metatui.learning.data.torchvision_import import torchvision_datasets

    datasets = torchvision_datasets()
    omniglot = datasets.Omniglot
    name = f"{part}.zip"
    url = f"{omniglot.download_url_prefix}/{name}"
    datasets.utils.download_url(url, folder, name, omniglot.zips_md5[part])
