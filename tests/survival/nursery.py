"""Starts processes that train, one at a time, from one that has imported everything already."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.survival.cases import Commands
from tests.survival.process import Kind

Counted = Mapping[Kind, int]


class Nursery:
    """See `process.nurse`, which is at the other end."""

    def __enter__(self) -> Nursery:
        command = [sys.executable, "-m", "tests.survival.process"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._told: dict[str, Any] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def start(
        self, runs: Path, arguments: list[str], commands: Commands, kind: Kind | None = None, number: int = 0
    ) -> int:
        """Trains with the arguments of `metatui`, in the folder `runs`. Returns the process's id.

        Args:
            commands: to be given on the way.
            kind, number: the moment at which it is to be killed.
        """
        request = {
            "log": str(log_of(runs)), "arguments": [*arguments, "--runs-dir", str(runs)],
            "kind": kind, "number": number, "tell": commands,
        }  # fmt: skip
        assert self._process.stdin
        print(json.dumps(request), file=self._process.stdin, flush=True)
        self._told.clear()
        self._hear("pid")
        return int(self._told["pid"])

    def wait(self) -> Counted | str:
        """Where the process was killed, or how many moments of each kind it had where it came to its end."""
        self._hear("at", "code")
        if "at" in self._told:
            os.kill(self._told["pid"], signal.SIGKILL)
            self._hear("code")
            assert self._told["code"] == -signal.SIGKILL
            return str(self._told["at"])
        counted: Counted = self._told.get("counted", {})
        return counted

    @property
    def code(self) -> int:
        """The exit code of the last process."""
        return int(self._told["code"])

    def _hear(self, *what: str) -> None:
        assert self._process.stdout
        while not self._told.keys() & set(what):
            self._told |= json.loads(self._process.stdout.readline())


def log_of(runs: Path) -> Path:
    """What the processes that train in `runs` print."""
    return runs.with_suffix(".log")
