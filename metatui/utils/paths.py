"""Where things are on disk. Every path honours the XDG variables through platformdirs; nothing is created here."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path, user_config_path, user_data_path, user_log_path

from metatui.utils.errors import BadInput, quote
from metatui.utils.text import sanitize

APP = "metatui"


def expanded(path: str | Path) -> Path:
    """`path` with the home folder that its ~ stands for. Raises BadInput where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise BadInput(f"{quote(str(path), 200)} is in a home folder that is not known on this machine") from None


def runs_dir(given: str | Path | None = None) -> Path:
    """Where run folders are: `given`, else METATUI_RUNS, else `runs` in the user's data directory. Raises BadInput."""
    chosen = given or os.environ.get("METATUI_RUNS")
    return expanded(chosen).absolute() if chosen else user_data_path(APP) / "runs"


def user_presets_dir() -> Path:
    """Where the user's own presets are."""
    return user_config_path(APP) / "presets"


def app_state_file() -> Path:
    """What the app remembers between sessions: theme, symbols, pane sizes."""
    return user_config_path(APP) / "app.toml"


def omniglot_cache() -> Path:
    """The packed Omniglot images."""
    return user_data_path(APP) / "data" / "omniglot.safetensors"


def packed_folders_dir() -> Path:
    """Where the images of the user's own folders are packed; safe to delete."""
    return user_cache_path(APP) / "folders"


def compiled_dir() -> Path:
    """Compiled meta-steps, for this machine; safe to delete."""
    return user_cache_path(APP) / "compiled"


def measured_engines_file() -> Path:
    """Which engine was measured to be the fastest for what, on this machine; safe to delete."""
    return user_cache_path(APP) / "engines.json"


def summaries_file() -> Path:
    """Summaries of runs that are over; safe to delete."""
    return user_cache_path(APP) / "summaries.sqlite3"


def downloads_dir() -> Path:
    """Where downloads are unpacked from; safe to delete."""
    return user_cache_path(APP) / "downloads"


def short(path: Path) -> str:
    """`path` as a person would write it, with ~ for the home directory, safe to show."""
    try:
        return sanitize(str(Path("~") / path.relative_to(Path.home())), limit=1000)
    except (ValueError, RuntimeError):
        return sanitize(str(path), limit=1000)


def log_file() -> Path:
    """Where crashes and native output are written."""
    return user_log_path(APP) / "metatui.log"
