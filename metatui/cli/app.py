"""Opening the app with the settings that the command line gives."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from pathlib import Path

from metatui.cli.options import changed
from metatui.cli.supervise import supervised
from metatui.tui.last_words import LastWords


def open_app(
    preset: str | None,
    assignments: Sequence[str],
    *,
    start: bool,
    runs_dir: Path | None,
    ascii_only: bool,
    theme: str | None,
) -> int:
    """Runs the app in a child process until the user quits and returns its exit code, in both processes.

    Raises BadInput for settings that cannot be, before anything is drawn or imported for drawing.
    """
    return supervised(
        lambda words: _run(
            preset, assignments, start=start, runs_dir=runs_dir, ascii_only=ascii_only, theme=theme, words=words
        )
    )


def hasten() -> None:
    """Start up sooner. To be called before what is heavy is imported."""
    gc.disable()  # while all is imported and made, and nothing dropped; the app enables it after its first frame
    # There are none for our settings; to find that out, pydantic reads what every installed package says of itself.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Milliseconds for which an escape may be the first byte of another key: Textual's 100 are seen, these are not.
    os.environ.setdefault("ESCDELAY", "25")


def _run(
    preset: str | None,
    assignments: Sequence[str],
    *,
    start: bool,
    runs_dir: Path | None,
    ascii_only: bool,
    theme: str | None,
    words: LastWords,
) -> int:
    hasten()
    from metatui import paths, presets
    from metatui.settings import Settings

    loaded = presets.load(preset) if preset is not None else None
    settings = loaded.settings if loaded else None
    if assignments:
        settings = changed(settings or Settings(), assignments)

    from metatui.tui.app import run_app

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
