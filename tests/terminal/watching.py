"""What a person at a terminal does, whichever terminal it is: press keys, and wait until something is to be seen."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

PATIENCE = 60.0
"""Seconds to wait for anything to appear: many times what it takes on a busy machine, and only spent on failure."""


class Terminal(ABC):
    """A terminal in which metatui runs."""

    @property
    @abstractmethod
    def rows(self) -> Sequence[str]:
        """The screen as it was last looked at, from the top."""

    @property
    @abstractmethod
    def condition(self) -> str:
        """Whether the program runs or how it ended, for a test that fails."""

    @abstractmethod
    def look(self) -> bool:
        """Look at the screen again, waiting a moment for news; False once the program is over."""

    @abstractmethod
    def press(self, key: str) -> None:
        """Press a key: a character, or a name as Textual has them."""

    def type(self, text: str) -> None:
        for character in text:
            self.press(character)

    @property
    def text(self) -> str:
        return "\n".join(row.rstrip() for row in self.rows)

    @property
    def meta_step(self) -> int:
        """How far the run has come, as the top row says or else the row of its progress; 0 where neither is seen."""
        found = re.search(r"([\d,]+) of [\d,]+", self.rows[0]) or re.search(r"([\d,]+) of [\d,]+ meta-s", self.text)
        return int(found[1].replace(",", "")) if found else 0

    @property
    def keys(self) -> str:
        """The keys that are offered, in the last row."""
        return self.rows[-1]

    @property
    def explained(self) -> str:
        """The label of the field that the line below the form explains; empty where it explains none."""
        for row in reversed(self.rows):
            if found := re.match(r"[ │]*([A-Z][\w -]+(?: \([KQN]\))?)(?: \([^)]*\))?: ", row):
                return found[1]
        return ""

    def see(self, *texts: str, patience: float = PATIENCE) -> None:
        """Wait until all of `texts` are on the screen at once."""
        self.until(lambda: all(text in self.text for text in texts), f"{', '.join(texts)} on the screen", patience)

    def see_progress(self) -> None:
        """Wait until the run that is shown has come further than it is now."""
        before = self.meta_step
        self.until(lambda: self.meta_step > before, f"a meta-step beyond {before}")

    def see_gone(self, text: str) -> None:
        self.until(lambda: text not in self.text, f"{text} gone from the screen")

    def tab_to(self, label: str, *, most: int = 30) -> None:
        """Press tab until the field `label` has the focus, as the line below the form says.

        One press at a time: a key that comes in together with a tab goes to the field that had the focus before it.
        """
        self.until(lambda: self.explained, "a field explained")
        for _ in range(most):
            before = self.explained
            self.press("tab")
            self._see_explained_other_than(before)
            if self.explained == label:
                return
        raise AssertionError(f"tab does not lead to {label}\n{self.text}")

    def _see_explained_other_than(self, label: str) -> None:
        self.until(lambda: self.explained not in ("", label), "the next field explained")

    def until(self, holds: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
        """Look until `holds()`; AssertionError where the program ends first, or `patience`, in seconds, does."""
        deadline = time.monotonic() + patience
        while not holds():
            if not self.look() and not holds():
                raise AssertionError(f"not before the end: {what}; {self.condition}\n{self.text}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {patience:g} s: {what}; {self.condition}\n{self.text}")
