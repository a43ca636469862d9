"""Launches the app from the command line, and creates it for tests. This module imports no large libraries."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metatui.config import presets
from metatui.config.schedule import Planned
from metatui.config.settings import Settings
from metatui.tui import preferences
from metatui.tui.app import MetatuiApp
from metatui.tui.colors import themes
from metatui.tui.controllers.sessions import Sessions
from metatui.tui.keyboard import keymap
from metatui.tui.keyboard.actions import use_keymap
from metatui.tui.preferences import Preferences
from metatui.tui.terminal import kitty, symbols
from metatui.tui.terminal.crash_info import CrashInfo, describe_background_run
from metatui.tui.terminal.cursor_query import moves_cursor
from metatui.tui.terminal.redirect import redirect_output
from metatui.tui.terminal.symbols import Symbols
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError, quote
from metatui.utils.logs import open_log

# Imported in the function that uses it, because the first frame does not need it.
if TYPE_CHECKING:
    from metatui.runs.storage.run_folder import RunFolder

OPENING_PRESETS = ("quick", "sinusoid-maml")
"""Presets with which the form is filled at startup. The first one that can be loaded is used."""


def run_app(*, crash_info: CrashInfo, attach: RunFolder | None = None, **options: Any) -> int:
    """Run the app and return its exit code.

    Args:
        crash_info: shared memory with information for the parent process, in case the app crashes.
        attach: run to follow, which must be training, or None to follow no run.
        options: arguments of `make_app`.

    Raises:
        BadInput: if the theme is unknown, standard input or output is not a terminal, or the terminal cannot move the
            cursor.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadInput("the app needs a terminal: use 'metatui run' to train without one")
    if os.environ.get("TERM") == "dumb" and not moves_cursor():
        raise BadInput("this terminal (TERM=dumb) cannot move the cursor: use 'metatui run' to train without the app")
    app = make_app(**options)
    app.background.to_attach, app.background.crash_info = attach, crash_info
    with open_log() as (log, no_log):
        if no_log:
            app.warning = f"{app.warning} {no_log}.".strip()
        with redirect_output(log):
            crash_info.drawing = True
            app.run()
            crash_info.drawing = False
    if app.background.left:
        _write(describe_background_run(app.background.left), 2 if app.return_code or os.isatty(2) else 1)
    if app.return_code == 1:
        where = no_log or f"The traceback is in {paths.log_file()}"
        _write(f"metatui stopped because of an internal error. {where}.", 2)
    return app.return_code or 0


def _write(sentence: str, descriptor: int) -> None:
    # Not written through a stream: if the terminal is lost, text left in its buffer would change Python's exit code.
    with suppress(OSError):
        os.write(descriptor, f"{sentence}\n".encode())


def make_app(
    *,
    settings: Settings | None = None,
    preset: str | None = None,
    base: Settings | None = None,
    changes: Sequence[Planned] = (),
    start: bool = False,
    tour: bool = False,
    runs_dir: Path,
    ascii: bool = False,  # noqa: A002 - the option's name
    theme: str | None = None,
    sessions: Sessions | None = None,
) -> MetatuiApp:
    """Create the app.

    Args:
        settings: settings in the form. If None, the form contains a preset that needs no data.
        preset: name of the preset that `settings` come from, if any.
        base: settings of this preset or, without a preset, the default settings. None if they equal `settings`.
        changes: scheduled setting changes of the preset.
        start: whether to start training immediately.
        tour: whether to start the tour.
        ascii: whether to draw with ASCII characters only.
        theme: name of a Textual theme. If None, the saved theme is used.
        sessions: access to runs. If None, real runs are used. Tests pass an object that does not train.

    Raises:
        BadInput: if the theme is unknown.
    """
    if settings is None:
        settings, preset = opening_settings()
    saved, warning = saved_preferences()
    try:
        keys = keymap.load()
    except BadInput as error:
        keys, warning = {}, f"{error}. The default keys are used. {warning}".strip()
    use_keymap(keys)
    pictures = kitty.is_supported(os.environ)
    if pictures:
        os.environ["COLORTERM"] = "truecolor"  # SSH passes only TERM on
    encoding = sys.__stderr__.encoding if sys.__stderr__ else None
    return MetatuiApp(
        settings,
        runs_dir=runs_dir,
        sessions=sessions or Sessions(runs_dir),
        symbols=Symbols.ASCII if ascii else symbols.detect(os.environ, encoding, symbols.tmux_utf8(os.environ)),
        theme=chosen_theme(theme, saved),
        preferences=saved,
        pictures=pictures,
        preset=preset,
        base=base,
        changes=changes,
        start=start,
        tour=tour,
        warning=warning,
        keymap=keys,
    )


def opening_settings() -> tuple[Settings, str | None]:
    """Return the settings in the form at startup, and the name of their preset."""
    for name in OPENING_PRESETS:
        with suppress(MetatuiError):
            return presets.load(name).settings, name
    return Settings(), None


def saved_preferences() -> tuple[Preferences, str]:
    """Return the saved preferences, or the defaults and a warning if they cannot be read."""
    try:
        return preferences.load(), ""
    except BadInput as error:
        return Preferences(), f"{error}."


def chosen_theme(name: str | None, saved: Preferences) -> str:
    """Return `name` if it is given, otherwise the saved theme or, if none is saved, a theme that suits the terminal.

    Raises:
        BadInput: if `name` is not a known theme.
    """
    known = themes.names()
    if name is not None:
        if name not in known:
            raise BadInput(f"theme is {quote(name)}, but must be one of {', '.join(known)}")
        return name
    return saved.theme if saved.theme in known else themes.default_theme(os.environ)
