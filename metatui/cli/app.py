"""Functions that start the app from the command line."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from metatui.cli.options import apply_settings
from metatui.cli.terminal_guard import run_in_child
from metatui.tui.terminal.crash_info import CrashInfo
from metatui.utils.errors import BadInput, quote

COLOR_SYSTEMS = ("auto", "standard", "256", "truecolor", "windows")


def open_app(arguments: Callable[[], dict[str, Any]], *, ascii_only: bool, theme: str | None) -> int:
    """Run the app in a child process until the user quits. Parent and child both return the app's exit code.

    Args:
        arguments: function that returns the arguments of `run_app` that do not concern the display. The child process
            calls it before anything is drawn, so that its errors can be printed.

    Raises:
        BadInput: if TEXTUAL_COLOR_SYSTEM names a colour system that rich does not know.
    """

    def run(crash_info: CrashInfo) -> int:
        _prepare_process()
        from metatui.config.plugins import load_plugins

        load_plugins()
        further = arguments()
        from metatui.tui.launch import run_app

        return run_app(**further, ascii=ascii_only, theme=theme, crash_info=crash_info)

    return run_in_child(run)


def app_arguments(
    preset: str | None, assignments: Sequence[str], *, start: bool, runs_dir: Path | None
) -> dict[str, Any]:
    """Return the arguments of `run_app` for the settings given on the command line.

    Raises:
        BadInput: if the settings are invalid.
    """
    from metatui.config import presets
    from metatui.config.settings import Settings
    from metatui.utils import paths

    loaded = presets.load(preset) if preset is not None else None
    base = loaded.settings if loaded else Settings()
    settings = apply_settings(base, assignments) if assignments else loaded and loaded.settings
    return {
        "settings": settings,
        "preset": loaded.name if loaded else None,
        "base": base if assignments else None,
        "changes": loaded.changes if loaded else (),
        "start": start,
        "runs_dir": paths.runs_dir(runs_dir),
    }


def _prepare_process() -> None:
    """Set up this process for the app. Call this function before importing Textual and other large libraries."""
    chosen = os.environ.get("TEXTUAL_COLOR_SYSTEM", "auto")
    if chosen not in COLOR_SYSTEMS:
        raise BadInput(f"TEXTUAL_COLOR_SYSTEM is {quote(chosen)}, but must be one of {', '.join(COLOR_SYSTEMS)}")
    # COLUMNS and LINES, if exported, would override the size of the terminal.
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    # Garbage collection during imports only costs time; the app enables it when it has started.
    gc.disable()
    # metatui uses no pydantic plugins; looking for them would read the metadata of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Milliseconds to wait for the rest of an escape sequence; Textual's default of 100 is a noticeable delay.
    os.environ.setdefault("ESCDELAY", "25")
