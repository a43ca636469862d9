"""The cache folder for compiled code, and the checks before code is loaded from it.

Loading compiled code means running it. So compiled code is loaded only from the user's own cache folder, and only if no
other user could have written it.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from metatui.utils import paths

MAX_AGE_SECONDS = 3600.0
"""Age in seconds after which a temporary folder is removed. Compilations take minutes, so no compilation is still using
such a folder."""


def private_folder() -> Path:
    """Create the cache folder, writable only by its owner, and return its path.

    This also removes temporary folders that were left behind when compilations were killed. A compilation is usually
    killed because its run has ended.

    Raises:
        OSError: if the folder cannot be created.
    """
    folder = paths.compiled_dir()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for path in folder.glob(f"{tempfile.gettempprefix()}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > MAX_AGE_SECONDS:
                shutil.rmtree(path)
    return folder


def untrusted(path: Path) -> str:
    """Return the reason why the file must not be loaded, or an empty string if it may be loaded.

    Raises:
        OSError: if the file or the cache folder does not exist or cannot be examined.
    """
    folder = paths.compiled_dir()
    if path.parent != folder:
        return f"compiled functions are only loaded from {folder}"
    for entry in (folder, path):
        status = entry.lstat()
        if stat.S_ISLNK(status.st_mode):
            return f"{entry} is a link"
        if status.st_uid != os.getuid():
            return f"{entry} belongs to another user"
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"{entry} is writable by other users"
    return ""
