"""The user's keymap, a TOML file that assigns keys to actions, for example with `start = "f5,ctrl+e"`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from textual.binding import Binding, InvalidBinding
from textual.keys import Keys, key_to_character

from metatui.tui.keyboard.actions import ACTIONS, BY_ID, TABS, Action
from metatui.tui.preferences import read_table
from metatui.utils import paths
from metatui.utils.errors import BadInput, quote

RESERVED = ("tab", "shift+tab", "ctrl+c", "ctrl+i", "ctrl+m")
"""Keys that cannot be assigned to actions. Terminals send ctrl+i and ctrl+m for tab and enter."""

KNOWN = frozenset(key.value for key in Keys if not key.value.startswith("<"))


def load() -> dict[str, str]:
    """Return the user's keymap, which maps ids of actions to comma-separated keys. It is empty if there is no file.

    Raises:
        BadInput: if the file cannot be used. The message names the file, the action and what is allowed.
    """
    path = paths.keymap_file()
    table = read_table(path, "is not a TOML file")
    try:
        keymap = {name: _keys(name, value) for name, value in table.items()}
        _check_conflicts(keymap)
    except BadInput as error:
        raise BadInput(f"{quote(str(path), 200)}: {error}") from None
    return keymap


def _keys(name: str, value: object) -> str:
    """Return the keys in `value`, separated by commas, as Textual spells them.

    Raises:
        BadInput: if there is no action `name`, or `value` is invalid.
    """
    if name not in BY_ID:
        near = difflib.get_close_matches(name, BY_ID, n=1)
        hint = f"did you mean {near[0]}?" if near else "'metatui keys' lists the actions"
        raise BadInput(f"{quote(name)} is not an action: {hint}")
    allowed = "must be keys separated by commas, such as f5,s or ctrl+g,question_mark"
    if not isinstance(value, str):
        raise BadInput(f"{name} is {quote(value)}, but {allowed}")
    try:
        keys = [binding.key for binding in Binding.make_bindings([Binding(value, "")])]
    except InvalidBinding:  # an empty key
        raise BadInput(f"{name} is {quote(value)}, but {allowed}") from None
    for key in keys:
        if key in RESERVED:
            raise BadInput(f"{name} is {quote(value)}, but {', '.join(RESERVED)} have a fixed meaning")
        if key not in KNOWN and key_to_character(key) is None:
            raise BadInput(f"{name} is {quote(value)}, but {allowed}")
    return ",".join(dict.fromkeys(keys))


def _check_conflicts(keymap: Mapping[str, str]) -> None:
    """Raise BadInput if two actions of the same tab share a key, unless it is a default key of both actions."""
    for tab in TABS:
        owners: dict[str, Action] = {}
        for action in ACTIONS:
            if action.tab not in (None, tab):
                continue
            for key in keymap.get(action.id, action.default_keys).split(","):
                other = owners.setdefault(key, action)
                if other is not action and not all(key in each.default_keys.split(",") for each in (other, action)):
                    changed, kept = (action, other) if action.id in keymap else (other, action)
                    raise BadInput(
                        f"{changed.id} is {quote(keymap[changed.id])}, but {key} is a key of {kept.id}: choose another "
                        f"key, or change the keys of {kept.id} as well"
                    )
