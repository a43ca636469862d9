"""Paths of files and folders, from platformdirs, which respects the XDG variables. This module creates no files."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path, user_config_path, user_data_path, user_log_path

from metatui.utils.errors import BadInput, quote
from metatui.utils.text import sanitize

APP = "metatui"


def expanded(path: str | Path) -> Path:
    """Replace a leading ~ with the home folder.

    Raises:
        BadInput: if the home folder cannot be determined.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise BadInput(f"{quote(str(path), 200)} is in the home folder of an unknown user") from None


def absolute(path: str | Path) -> Path:
    """Return `path` as an absolute path, with the home folder in place of a leading ~.

    Raises:
        BadInput: if the home folder cannot be determined, or if the path is relative and the current folder has been
            deleted.
    """
    try:
        return expanded(path).absolute()
    except FileNotFoundError:
        raise BadInput(f"{quote(str(path), 200)} is relative to the current folder, which has been deleted") from None


def runs_dir(path: str | Path | None = None) -> Path:
    """Return the folder that contains all runs.

    This is `path` if given, else the value of the environment variable METATUI_RUNS, else `runs` in the user's data
    folder.
    """
    chosen = path or os.environ.get("METATUI_RUNS")
    return absolute(chosen) if chosen else user_data_path(APP) / "runs"


def user_presets_dir() -> Path:
    """Return the folder of the user's presets."""
    return user_config_path(APP) / "presets"


def app_state_file() -> Path:
    """Return the path of the file with the app's preferences, such as the theme and the pane sizes."""
    return user_config_path(APP) / "app.toml"


def keymap_file() -> Path:
    """Return the path of the file with the user's own key bindings."""
    return user_config_path(APP) / "keymap.toml"


def omniglot_cache() -> Path:
    """Return the path of the file that stores the decoded Omniglot images."""
    return user_data_path(APP) / "data" / "omniglot.safetensors"


def cifar100_cache() -> Path:
    """Return the path of the file that stores the CIFAR-100 images."""
    return user_data_path(APP) / "data" / "cifar100.safetensors"


def packed_folders_dir() -> Path:
    """Return the folder that stores the decoded images of the user's image folders. It can be deleted safely."""
    return user_cache_path(APP) / "folders"


def compiled_dir() -> Path:
    """Return the folder that stores meta-steps compiled for this machine. It can be deleted safely."""
    return user_cache_path(APP) / "compiled"


def measured_engines_file() -> Path:
    """Return the path of the file that stores engine timings on this machine. It can be deleted safely."""
    return user_cache_path(APP) / "engines.json"


def summaries_file() -> Path:
    """Return the path of the database that caches summaries of finished runs. It can be deleted safely."""
    return user_cache_path(APP) / "summaries.sqlite3"


def downloads_dir() -> Path:
    """Return the folder that stores downloads. It can be deleted safely."""
    return user_cache_path(APP) / "downloads"


def short(path: Path) -> str:
    """Format `path` for display, with ~ for the home folder."""
    try:
        return sanitize(str(Path("~") / path.relative_to(Path.home())), limit=1000)
    except (ValueError, RuntimeError):
        return sanitize(str(path), limit=1000)


def log_file() -> Path:
    """Return the log file for crashes and for the output of native libraries."""
    return user_log_path(APP) / "metatui.log"
