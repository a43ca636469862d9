"""`metatui tour`: open the app with the tour."""

from __future__ import annotations

from pathlib import Path

import click

from metatui.cli.app import open_app
from metatui.cli.options import examples, runs_dir_option


@click.command(epilog=examples("metatui tour", "metatui tour --theme textual-light"))
@runs_dir_option
@click.option("--ascii", "ascii_only", is_flag=True, help="Use ASCII characters only.")
@click.option("--theme", metavar="NAME", help="Colour theme of the app.")
def tour(runs_dir: Path | None, ascii_only: bool, theme: str | None) -> int:
    """Open the app with a tour in eight steps, from training and changing a run to comparing runs.

    Each step ends when you have done what it describes. Press Escape to end the tour at any time.
    """
    from metatui.utils import paths

    root = paths.runs_dir(runs_dir)
    return open_app(lambda: {"runs_dir": root, "tour": True}, ascii_only=ascii_only, theme=theme)
