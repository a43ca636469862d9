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
        BadInput: if there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise BadInput(f"{quote(str(path), 200)} is in the home folder of an unknown user") from None


def runs_dir(path: str | Path | None = None) -> Path:
    """Return the folder of runs: `path`, else the folder in METATUI_RUNS, else `runs` in the user's data folder."""
    chosen = path or os.environ.get("METATUI_RUNS")
    return expanded(chosen).absolute() if chosen else user_data_path(APP) / "runs"


def user_presets_dir() -> Path:
    """Return the folder of the user's presets."""
    return user_config_path(APP) / "presets"


def app_state_file() -> Path:
    """Return the file of the app's preferences, such as the theme and the pane sizes."""
    return user_config_path(APP) / "app.toml"


def keymap_file() -> Path:
    """Return the file of the user's own key bindings."""
    return user_config_path(APP) / "keymap.toml"


def omniglot_cache() -> Path:
    """Return the file of decoded Omniglot images."""
    return user_data_path(APP) / "data" / "omniglot.safetensors"


def cifar100_cache() -> Path:
    """Return the file of CIFAR-100's images."""
    return user_data_path(APP) / "data" / "cifar100.safetensors"


def packed_folders_dir() -> Path:
    """Return the folder for the decoded images of the user's image folders; safe to delete."""
    return user_cache_path(APP) / "folders"


def compiled_dir() -> Path:
    """Return the folder of meta-steps compiled for this machine; safe to delete."""
    return user_cache_path(APP) / "compiled"


def measured_engines_file() -> Path:
    """Return the file of engine timings on this machine; safe to delete."""
    return user_cache_path(APP) / "engines.json"


def summaries_file() -> Path:
    """Return the database of summaries of finished runs; safe to delete."""
    return user_cache_path(APP) / "summaries.sqlite3"


def downloads_dir() -> Path:
    """Return the folder of downloads; safe to delete."""
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
