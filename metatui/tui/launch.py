"""Starting the app: what the command line calls and what tests make, with everything heavy left for later."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from metatui.config import presets
from metatui.config.schedule import Planned
from metatui.config.settings import Settings
from metatui.tui import themes
from metatui.tui.app import MetatuiApp
from metatui.tui.controllers.sessions import RealSessions, Sessions
from metatui.tui.preferences import load_theme
from metatui.tui.terminal import symbols
from metatui.tui.terminal.crash_info import LastWords, goes_on
from metatui.tui.terminal.redirect import own_terminal
from metatui.tui.terminal.symbols import Symbols
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError, quote
from metatui.utils.logs import open_log

# What the first frame needs none of is imported where it is used.
if TYPE_CHECKING:
    from metatui.runs.storage.run_folder import RunFolder

OPENING_PRESETS = ("quick", "sinusoid-maml")
"""What the form says at the start: the first of these that there is."""


def run_app(
    *,
    runs_dir: Path,
    words: LastWords,
    settings: Settings | None = None,
    preset: str | None = None,
    changes: Sequence[Planned] = (),
    start: bool = False,
    attach: RunFolder | None = None,
    ascii: bool = False,  # noqa: A002 - the option's name
    theme: str | None = None,
) -> int:
    """Run the app to its end; the exit code is returned.

    Args:
        words: Is kept up to date for whoever waits for this process.
        settings: What the form says; None opens a preset that needs no data.
        preset: The name of the preset that `settings` are, if they are one.
        changes: What that preset changes while it trains.
        start: Whether to start training at once.
        attach: The live run to follow from the start.
        ascii: Whether to draw with ASCII alone, also where the terminal could show more.
        theme: The name of a Textual theme; None takes the one chosen last.

    Raises:
        BadInput: There is no such theme, or this is not a terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadInput("the app needs a terminal, and this is none: metatui run trains without one")
    app = make_app(
        settings=settings, preset=preset, changes=changes, start=start, runs_dir=runs_dir, ascii=ascii, theme=theme
    )
    app.to_attach, app.words = attach, words
    with open_log() as (log, no_log):
        if no_log:
            app.warn_at_start(f"{no_log}.")
        with own_terminal(log) as app.outlet:
            words.drawing = True
            app.run()
            words.drawing = False
    if app.left:
        _say(goes_on(app.left), 2 if app.return_code or os.isatty(2) else 1)
    if app.return_code == 1:
        where = no_log or f"The traceback is in {paths.log_file()}"
        _say(f"metatui stopped because of an internal error. {where}.", 2)
    return app.return_code or 0


def _say(sentence: str, descriptor: int) -> None:
    # Not by a stream: Python ends with another exit code where the terminal is gone and something is left in one.
    with suppress(OSError):
        os.write(descriptor, f"{sentence}\n".encode())


def make_app(
    *,
    settings: Settings | None = None,
    preset: str | None = None,
    changes: Sequence[Planned] = (),
    start: bool = False,
    runs_dir: Path,
    ascii: bool = False,  # noqa: A002 - the option's name
    theme: str | None = None,
    sessions: Sessions | None = None,
) -> MetatuiApp:
    """The app, ready to run. Tests give `sessions` that train nothing. Raises BadInput for an unknown theme."""
    if settings is None:
        settings, preset = opening_settings()
    chosen, warning = chosen_theme(theme)
    return MetatuiApp(
        settings,
        runs_dir=runs_dir,
        sessions=sessions or RealSessions(runs_dir),
        symbols=Symbols.ASCII if ascii else symbols.detect(os.environ, _encoding(), symbols.tmux_utf8(os.environ)),
        theme=chosen,
        preset=preset,
        changes=changes,
        start=start,
        warning=warning,
    )


def opening_settings() -> tuple[Settings, str | None]:
    """The preset that the app opens with, and its name."""
    for name in OPENING_PRESETS:
        with suppress(MetatuiError):
            return presets.load(name).settings, name
    return Settings(), None


def chosen_theme(asked: str | None) -> tuple[str, str]:
    """The theme to start with, and a warning where the remembered one cannot be used. Raises BadInput."""
    known = themes.names()
    if asked is not None:
        if asked not in known:
            raise BadInput(f"theme is {quote(asked)}, but must be one of {', '.join(known)}")
        return asked, ""
    try:
        remembered = load_theme()
    except BadInput as error:
        return themes.fitting(os.environ), f"{error}."
    return (remembered if remembered in known else themes.fitting(os.environ)), ""


def _encoding() -> str | None:
    return sys.__stderr__.encoding if sys.__stderr__ else None
