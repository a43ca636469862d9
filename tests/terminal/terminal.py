"""Base class for terminals in which tests press keys and wait for text."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from metatui.tui.keyboard.actions import BY_ID, key_name

PATIENCE = 60.0
"""Timeout in seconds. It is much longer than even a busy machine needs, so that only failures reach it."""


class Terminal(ABC):
    """A terminal in which metatui runs."""

    def __init__(self) -> None:
        self.performed: set[str] = set()
        """Ids of the actions that `act` has performed."""

    @property
    @abstractmethod
    def rows(self) -> Sequence[str]:
        """Rows of text that were on the screen when `look` was last called."""

    @property
    @abstractmethod
    def condition(self) -> str:
        """Description of the program's state, for failure messages."""

    @abstractmethod
    def look(self) -> bool:
        """Wait briefly for output, and update `rows`. Returns False after the program has ended."""

    @abstractmethod
    def press(self, key: str) -> None:
        """Press a key, given as a character or as a Textual key name."""

    def act(self, action: str, *texts: str, gone: str = "") -> None:
        """Press the preferred key of an action, and wait for its effect.

        Args:
            texts: texts that the action shows. None of them may be visible before the key press.
            gone: text that the action hides. It must be visible before the key press.
        """
        self.look()
        for text in texts:
            assert text not in self.text, f"visible before {action}: {text}\n{self.text}"
        assert gone in self.text, f"not visible before {action}: {gone}\n{self.text}"
        self.performed.add(action)
        key = BY_ID[action].key
        name = key_name(key)
        self.press(name if len(name) == 1 else key)
        self.see(*texts)
        if gone:
            self.see_gone(gone)

    def type(self, text: str) -> None:
        for character in text:
            self.press(character)

    @property
    def text(self) -> str:
        return "\n".join(row.rstrip() for row in self.rows)

    @property
    def meta_step(self) -> int:
        """Meta-step of the shown run, as displayed in the top row or the progress bar, or 0 if neither is visible."""
        bar = r"([\d,]+) of [\d,]+(?: meta-s|, \d+ %)"
        found = re.search(r"([\d,]+) of [\d,]+", self.rows[0]) or re.search(bar, self.text)
        return int(found[1].replace(",", "")) if found else 0

    @property
    def keys(self) -> str:
        """Text of the key bar, the last row of the screen."""
        return self.rows[-1]

    @property
    def explained_label(self) -> str:
        """Label of the field that is explained below the form, or an empty string if no field is explained."""
        for row in reversed(self.rows):
            if found := re.match(r"[ │]{0,2}([A-Z][\w -]+(?: \([KQN]\))?)(?: \([^)]*\))?: ", row):
                return found[1]
        return ""

    def see(self, *texts: str, patience: float = PATIENCE) -> None:
        """Wait until all of `texts` are on the screen at the same time."""
        self.until(lambda: all(text in self.text for text in texts), f"{', '.join(texts)} on the screen", patience)

    def see_progress(self) -> None:
        """Wait until the meta-step shown on the screen has increased."""
        before = self.meta_step
        self.until(lambda: self.meta_step > before, f"a meta-step beyond {before}")

    def see_gone(self, text: str) -> None:
        self.until(lambda: text not in self.text, f"{text} gone from the screen")

    def tab_to(self, label: str, *, most: int = 30) -> None:
        """Press Tab up to `most` times, until the field `label` is explained below the form."""
        self.until(lambda: self.explained_label, "a field explained")
        for _ in range(most):
            before = self.explained_label
            self.press("tab")
            self._see_explained_other_than(before)
            if self.explained_label == label:
                return
        raise AssertionError(f"tab does not lead to {label}\n{self.text}")

    def _see_explained_other_than(self, label: str) -> None:
        self.until(lambda: self.explained_label not in ("", label), "the next field explained")

    def until(self, holds: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
        """Wait until `holds()` is true. Raises AssertionError after `patience` seconds or if the program ends."""
        deadline = time.monotonic() + patience
        while not holds():
            if not self.look() and not holds():
                raise AssertionError(f"not before the end: {what}; {self.condition}\n{self.text}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {patience:g} s: {what}; {self.condition}\n{self.text}")
