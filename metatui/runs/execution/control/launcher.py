"""Training in a process of its own, which outlives the terminal and whoever started it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import metatui
from metatui.config.schedule import Planned, as_tables
from metatui.config.settings import Scalar, Settings
from metatui.learning.data import packing
from metatui.runs.execution.control.client import LiveRun
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError, Problem, SettingsError, quote
from metatui.utils.logs import open_log

CHILD = (
    sys.executable,
    "-P",  # the folder that somebody happens to be in has no say in what is imported
    "-c",
    "import sys; sys.path.append(sys.argv[1]); "
    "from metatui.runs.execution.control.worker import main; main(int(sys.argv[2]))",
    str(Path(metatui.__file__).parent.parent),
)

LONGEST_ANSWER = 64 * 1024


def start_detached(
    settings: Settings,
    *,
    runs_dir: str | Path | None = None,
    preset: str | None = None,
    changes: Sequence[Planned] = (),
    origin: str | None = None,
    niceness: int = 0,
) -> LiveRun:
    """A new run, training, with `changes` on the way and from `origin` as of `Session.start`. Its every event is told.

    Args:
        niceness: how far the process stands back for others, from 0 to 19.

    Raises:
        BadInput, MetatuiError: as `Session.start` does; no folder is left behind.
    """
    groups = settings.model_dump(mode="json")
    return _train(
        {
            "settings": groups,
            "runs_dir": str(paths.runs_dir(runs_dir)),
            "preset": preset,
            "planned": as_tables(changes),
            "origin": origin,
            "niceness": niceness,
        }
    )


def resume_detached(run: RunFolder, changes: Mapping[str, Scalar] | None = None, *, niceness: int = 0) -> LiveRun:
    """A run, going on from its newest good checkpoint, with `niceness` as of `start_detached`. Its every event from
    there on is told.

    Raises:
        BadInput, MetatuiError: as `Session.resume` does.
    """
    return _train({"resume": str(run.path.absolute()), "changes": dict(changes or {}), "niceness": niceness})


def _train(request: Mapping[str, Any]) -> LiveRun:
    ours, theirs = socket.socketpair()
    try:
        with theirs, open_log() as (log, _):
            process = subprocess.Popen(
                [*CHILD, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # Whenever it ends, it is waited for: no zombie is left of it.
        threading.Thread(target=process.wait, name=f"process {process.pid}", daemon=True).start()
        try:
            ours.sendall(json.dumps(request).encode() + b"\n")
            return LiveRun(RunFolder(Path(_answer(ours))), ours)
        except (OSError, ValueError):
            raise MetatuiError(_without_a_word(process)) from None
        except BaseException:
            process.send_signal(signal.SIGTERM)
            raise
    except BaseException:
        ours.close()
        raise


def _answer(connection: socket.socket) -> str:
    """Waits for the process to say that it trains; the run's folder. Raises what it could not do.

    Whoever listens to packing in this process is told how far that one is.
    """
    answer: dict[str, Any] = json.loads(_line(connection))
    while "packed" in answer:
        packing.tell(*answer["packed"])
        answer = json.loads(_line(connection))
    if "dir" in answer:
        return str(answer["dir"])
    if problems := answer["problems"]:
        raise SettingsError([Problem(field, sentence) for field, sentence in problems])
    raise (BadInput if answer["exit_code"] == BadInput.exit_code else MetatuiError)(answer["error"])


def _line(connection: socket.socket) -> bytes:
    """The first line, and nothing of what follows it, which is the run's to tell."""
    said = bytearray()
    while not said.endswith(b"\n") and len(said) < LONGEST_ANSWER:
        byte = connection.recv(1)
        if not byte:
            raise ConnectionResetError
        said += byte
    return bytes(said)


def _without_a_word(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
    return f"the run's process {how} before it trained: {quote(str(paths.log_file()), 200)} has what was printed"
