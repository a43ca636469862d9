"""`metatui keys`: list the actions of the app, with their keys."""

from __future__ import annotations

import click

from metatui.cli.console.layout import say, show_table
from metatui.cli.console.output import console, emit
from metatui.cli.options import examples, json_option


@click.command(epilog=examples("metatui keys", "metatui keys --json"))
@json_option
def keys(as_json: bool) -> None:
    """List the actions of the app, with their keys.

    To change keys, write a TOML file with a line for each action to change, such as: start = "f5,ctrl+e". Keys are
    letters, digits, f1 to f24, combinations such as ctrl+e, and names such as space or question_mark. The last line of
    the list shows the path of this file. If the file is invalid, the list shows the default keys.
    """
    from metatui.tui.keyboard import keymap
    from metatui.tui.keyboard.actions import use_keymap

    use_keymap({})
    try:
        use_keymap(keymap.load())
    finally:  # also if the file is invalid, because the list helps to correct it
        _list(as_json=as_json)


def _list(*, as_json: bool) -> None:
    from metatui.tui.keyboard.actions import ACTIONS
    from metatui.utils import paths

    if as_json:
        emit(
            {
                "file": str(paths.keymap_file()),
                "actions": [
                    {
                        "action": action.id,
                        "keys": action.keys.split(","),
                        "default": action.default_keys.split(","),
                        "tab": action.tab,
                        "meaning": action.help,
                    }
                    for action in ACTIONS
                ],
            }
        )
        return
    screen = console()
    rows = ((action.id, action.keys, action.tab or "all", action.help) for action in ACTIONS)
    show_table(screen, ("action", "keys", "tab", "meaning"), rows)
    say(screen, f"To change keys, create or edit the file {paths.short(paths.keymap_file())}")
