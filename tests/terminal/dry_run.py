"""Performs the steps of tests without starting metatui, and records which actions they perform."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from metatui.tui.keyboard.actions import BY_ID
from tests.terminal.program import Program
from tests.terminal.terminal import PATIENCE, Terminal


class DryRunProgram(Program):
    """A `Program` that starts no process. It records the calls of `act`, ignores all other input and never waits."""

    def __init__(self) -> None:
        Terminal.__init__(self)

    @property
    def rows(self) -> Sequence[str]:
        return ("",)

    def act(self, action: str, *texts: str, gone: str = "") -> None:
        self.performed.add(BY_ID[action].id)

    def press(self, key: str) -> None:
        pass

    def resume(self) -> None:
        pass

    def tab_to(self, label: str, *, most: int = 0) -> None:
        pass

    def until(self, holds: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
        pass
