"""Opening the app with the settings that the command line gives."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from metatui import presets
from metatui.cli.options import changed
from metatui.errors import BadInput
from metatui.presets import Preset
from metatui.settings import Settings


def open_app(
    preset: str | None,
    assignments: Sequence[str],
    *,
    start: bool,
    runs_dir: Path | None,
    ascii_only: bool,
    theme: str | None,
) -> None:
    """Runs the app until the user quits. Raises BadInput for settings that cannot be, before anything is drawn."""
    opened: Preset | Settings | None = presets.load(preset) if preset is not None else None
    if assignments:
        opened = changed(opened.settings if isinstance(opened, Preset) else Settings(), assignments)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadInput("standard input and output are not a terminal: the app needs one, metatui run does not")

    from metatui.tui.app import run_app

    run_app(opened, start=start, runs_dir=runs_dir, ascii=ascii_only, theme=theme)
