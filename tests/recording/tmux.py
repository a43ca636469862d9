"""Runs `metatui` in a separate tmux server, without the user's configuration and sessions."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from string import ascii_lowercase
from types import TracebackType
from typing import Final

from tests.terminal.terminal import Terminal

KEYS: Final[Mapping[str, str]] = {
    "enter": "Enter", "tab": "Tab", "escape": "Escape", "space": "Space", "down": "Down", "up": "Up",
    "ctrl+home": "C-Home", "ctrl+end": "C-End",
    **{f"ctrl+{letter}": f"C-{letter}" for letter in ascii_lowercase},
    **{f"f{number}": f"F{number}" for number in range(1, 13)},
}  # fmt: skip

LOOK_EVERY = 0.3
"""Seconds between captures of the screen. tmux does not report changes."""


class Tmux(Terminal):
    """Terminal window in tmux that runs `metatui` with `arguments`. Leaving the `with` block closes the window.

    Args:
        size: numbers of columns and rows.
    """

    def __init__(self, *arguments: str, size: tuple[int, int], env: Mapping[str, str]) -> None:
        super().__init__()
        columns, rows = map(str, size)
        self._server = ["tmux", "-L", f"metatui-recording-{os.getpid()}", "-f", os.devnull]
        self._env = env
        self._rows: Sequence[str] = ()
        self._runs = True
        self._tmux(
            "start-server", ";", "set", "-g", "default-terminal", "tmux-256color", ";", "set", "-g", "status", "off",
            ";", "new-session", "-d", "-x", columns, "-y", rows, sys.executable, "-m", "metatui", *arguments,
        )  # fmt: skip
        self.look()

    def __enter__(self) -> Tmux:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runs:
            self._tmux("kill-server")

    @property
    def rows(self) -> Sequence[str]:
        return self._rows

    @property
    def condition(self) -> str:
        return "the program runs" if self._runs else "the program ended"

    def look(self) -> bool:
        time.sleep(LOOK_EVERY)
        try:
            self._rows = self._tmux("capture-pane", "-p", "-N").decode().splitlines()
        except subprocess.CalledProcessError:  # the only window closed, so the server ended
            self._runs = False
        return self._runs

    def press(self, key: str) -> None:
        self._tmux("send-keys", *([KEYS[key]] if key in KEYS else ["-l", key]))

    def capture(self) -> bytes:
        """Return the text of the screen with the escape sequences for its colours and styles."""
        return self._tmux("capture-pane", "-e", "-p", "-N")

    def _tmux(self, *command: str) -> bytes:
        return subprocess.run([*self._server, *command], env=self._env, check=True, capture_output=True).stdout
