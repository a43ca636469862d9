"""Start of the app with the settings from the command line."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from pathlib import Path

from metatui.cli.options import changed
from metatui.cli.terminal_guard import supervised
from metatui.tui.terminal.crash_info import CrashInfo
from metatui.utils.errors import BadInput, quote


def open_app(
    preset: str | None,
    assignments: Sequence[str],
    *,
    start: bool,
    runs_dir: Path | None,
    ascii_only: bool,
    theme: str | None,
) -> int:
    """Run the app in a child process until the user quits, and return its exit code in both processes.

    Raises:
        BadInput: the settings are invalid. This is checked before anything is drawn.
    """
    return supervised(
        lambda words: _run(
            preset, assignments, start=start, runs_dir=runs_dir, ascii_only=ascii_only, theme=theme, words=words
        )
    )


COLOR_SYSTEMS = ("auto", "standard", "256", "truecolor", "windows")


def prepare_process() -> None:
    """Set up this process for the app. Call it before importing Textual and other large libraries.

    Raises:
        BadInput: TEXTUAL_COLOR_SYSTEM names a colour system that rich does not know.
    """
    chosen = os.environ.get("TEXTUAL_COLOR_SYSTEM", "auto")
    if chosen not in COLOR_SYSTEMS:
        raise BadInput(f"TEXTUAL_COLOR_SYSTEM is {quote(chosen)}, but must be one of {', '.join(COLOR_SYSTEMS)}")
    # If exported, COLUMNS and LINES would override the size of the terminal.
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    # Collecting garbage during imports only takes time; the app enables the collector after its first frame.
    gc.disable()
    # metatui's settings use no plugins of pydantic, which would read the metadata of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Milliseconds to wait for the rest of a key after an escape; Textual's default of 100 is a visible delay.
    os.environ.setdefault("ESCDELAY", "25")


def _run(
    preset: str | None,
    assignments: Sequence[str],
    *,
    start: bool,
    runs_dir: Path | None,
    ascii_only: bool,
    theme: str | None,
    words: CrashInfo,
) -> int:
    prepare_process()
    from metatui.config import presets
    from metatui.config.settings import Settings
    from metatui.utils import paths

    loaded = presets.load(preset) if preset is not None else None
    settings = loaded.settings if loaded else None
    if assignments:
        settings = changed(settings or Settings(), assignments)

    from metatui.tui.launch import run_app

    return run_app(
        settings=settings,
        preset=loaded.name if loaded and not assignments else None,
        changes=loaded.changes if loaded else (),
        start=start,
        runs_dir=paths.runs_dir(runs_dir),
        ascii=ascii_only,
        theme=theme,
        words=words,
    )
