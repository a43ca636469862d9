"""Starts training processes, one at a time, as forks of a process that has imported all modules."""

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


class ForkServer:
    """Context manager that starts the process of `process.serve_forks` and requests training processes from it."""

    def __enter__(self) -> ForkServer:
        command = [sys.executable, "-m", "tests.survival.process"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._reports: dict[str, Any] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def start(
        self, runs: Path, arguments: list[str], commands: Commands, kind: Kind | None = None, number: int = 0
    ) -> int:
        """Start `metatui` with `arguments` and the runs folder `runs`, and return the process ID.

        Args:
            commands: commands to submit during training.
            kind, number: kind of the point at which to kill the process, and its number among points of this kind.
        """
        request = {
            "log": str(log_path(runs)), "arguments": [*arguments, "--runs-dir", str(runs)],
            "kind": kind, "number": number, "commands": commands,
        }  # fmt: skip
        assert self._process.stdin
        print(json.dumps(request), file=self._process.stdin, flush=True)
        self._reports.clear()
        self._read_reports("pid")
        return int(self._reports["pid"])

    def wait(self) -> Counted | str:
        """Wait until the process ends on its own, or reaches the requested kill point and is killed there.

        Returns:
            The name of the point if the process was killed, otherwise the number of points of each kind.
        """
        self._read_reports("at", "code")
        if "at" in self._reports:
            os.kill(self._reports["pid"], signal.SIGKILL)
            self._read_reports("code")
            assert self._reports["code"] == -signal.SIGKILL
            return str(self._reports["at"])
        counted: Counted = self._reports.get("counted", {})
        return counted

    @property
    def code(self) -> int:
        """Exit code of the last process."""
        return int(self._reports["code"])

    def _read_reports(self, *what: str) -> None:
        assert self._process.stdout
        while not self._reports.keys() & set(what):
            self._reports |= json.loads(self._process.stdout.readline())


def log_path(runs: Path) -> Path:
    """Return the path of the log file with the output of the processes that train in `runs`."""
    return runs.with_suffix(".log")
