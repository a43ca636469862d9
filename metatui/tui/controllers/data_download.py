"""Background process that runs the command with which a data set is downloaded and packed into a file."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from metatui.utils.files import reason
from metatui.utils.text import sanitize

PROGRAM = "metatui"


async def run_data_command(command: str, on_progress: Callable[[str], None]) -> str:
    """Run `command`, which begins with `metatui`. Return the reason if it fails, otherwise an empty string.

    If this coroutine is cancelled, the process is killed. An interrupted download starts from the beginning next time.

    Args:
        on_progress: function that is called with each line that the command writes to standard error.
    """
    _, *arguments = shlex.split(command)
    try:
        process = await asyncio.create_subprocess_exec(
            *program(),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return f"{command} cannot be started: {reason(error)}"
    last, rest = "", b""
    try:
        assert process.stderr is not None
        while data := await process.stderr.read(4096):
            # A percentage is rewritten after a carriage return.
            *lines, rest = re.split(rb"[\r\n]", rest + data)
            for text in (sanitize(line.decode(errors="replace"), limit=1000).strip() for line in lines):
                if text:
                    last = text
                    on_progress(text)
        code = await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if code == 0:
        return ""
    return last.removeprefix(f"{PROGRAM}: ") or f"{command} ended with exit code {code}"


def program() -> list[str]:
    """Return the command that starts metatui."""
    return [sys.executable, "-m", PROGRAM]
