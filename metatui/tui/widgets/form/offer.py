"""The offer to fill in an algorithm's usual values. The form shows it when an algorithm or a data set is selected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from metatui.config.fields import FIELDS, label_in_sentence, text_of
from metatui.config.registry import ALGORITHMS
from metatui.config.usual import usual_for
from metatui.tui.keyboard.actions import BY_ID, key_name
from metatui.tui.widgets.form.model import Texts
from metatui.tui.widgets.text_input import works_in_text
from metatui.utils.errors import SettingsError


@dataclass(frozen=True)
class Offer:
    """An offer to fill in the usual values of an algorithm that differ from the values in the form."""

    path: str
    """Path of the setting that triggered the offer. The offer is shown below the field of this setting."""
    title: str
    """Title of the algorithm."""
    texts: Mapping[str, str]
    """Texts of the usual values, keyed by the path of the setting."""
    before: Mapping[str, str]
    """Texts in the form that the usual values replace, keyed by the path of the setting."""
    is_taken: bool = False

    def taken(self) -> Offer:
        return replace(self, is_taken=True)

    def summary(self) -> str:
        """Return a message that lists the values that were filled in."""
        values = ", ".join(f"{label_in_sentence(path)} {text}" for path, text in self.texts.items())
        undo = key_name(BY_ID["undo"].key)
        return f"The usual values of {self.title} are in the form: {values}. {undo} restores your values."

    def note(self, path: str, *, here: bool = True, typing: bool = False) -> str:
        """Return the note to show below the field of a setting, or an empty string if there is none.

        Args:
            path: path of the setting.
            here: whether the field with the offer has the focus, so that enter accepts and escape declines the offer.
            typing: whether a text field or an open list has the focus, so that letter keys cannot be used as commands.
        """
        if path == self.path:
            return self._sentence(here, typing)
        return f"Usual: {self.texts[path]}" if path in self.texts and not self.is_taken else ""

    def _sentence(self, here: bool, typing: bool) -> str:
        if self.is_taken:
            key = _working_key("undo", typing) or BY_ID["undo"].key
            return f"The usual values of {self.title} are filled in. {key_name(key)} restores your values."
        values = [f"{label_in_sentence(path)} = {text}" for path, text in self.texts.items()]
        listed = " and ".join(filter(None, [", ".join(values[:-1]), values[-1]]))
        them = "them" if len(values) > 1 else "it"
        if here:
            keys = f"Enter fills {them} in, Esc keeps your values"
        elif key := _working_key("hint", typing):
            keys = f"{key_name(key)} fills {them} in"
        else:
            keys = f"Esc, then {key_name(BY_ID['hint'].key)}, fills {them} in"
        return f"{self.title} usually uses {listed}. {keys}."


def _working_key(action: str, typing: bool) -> str:
    """Return the first of an action's keys that works with the current focus, or an empty string if none works.

    Args:
        typing: whether a text field or an open list has the focus.
    """
    return next((key for key in BY_ID[action].keys.split(",") if not typing or works_in_text(key)), "")


def offer(texts: Texts, path: str) -> Offer | None:
    """Return an offer of the algorithm's usual values that differ from `texts`, or None if none differ.

    Args:
        path: the setting that triggers the offer, `algorithm.name` or `task.source`.
    """
    algorithm = ALGORITHMS[texts["algorithm.name"]]
    usual = usual_for(algorithm.name, texts["task.source"])
    new = {key: text_of(value) for key, value in usual.items() if not _reads(texts[key], key, value)}
    return Offer(path, algorithm.title, new, {key: texts[key] for key in new}) if new else None


def _reads(text: str, path: str, value: object) -> bool:
    try:
        return FIELDS[path].read(text) == value
    except SettingsError:
        return False
