"""Where compiled code is kept, and whether what is there may be loaded, which runs it.

It is code for this machine, in the user's own cache folder, and is loaded from nowhere else, and not where anybody else
could have written it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from metatui.utils import paths


def private_folder() -> Path:
    """The folder, which only its owner may write. Raises OSError."""
    folder = paths.compiled_dir()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def untrusted(path: Path) -> str:
    """Why what is at `path` is not loaded; empty where it is this user's own work. Raises OSError."""
    folder = paths.compiled_dir()
    if path.parent != folder:
        return f"compiled functions are loaded from {folder} alone"
    for each in (folder, path):
        about = each.lstat()
        if stat.S_ISLNK(about.st_mode):
            return f"{each} is a link"
        if about.st_uid != os.getuid():
            return f"{each} is another user's"
        if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"{each} can be written by others"
    return ""
