"""Background process that provides a data set, by the command that the data set names."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from metatui.utils.text import sanitize

PROGRAM = "metatui"
LONGEST = 200
"""Maximum length of a shown line."""


async def provide(command: str, on_progress: Callable[[str], None]) -> str:
    """Run `command`, which begins with `metatui`, and return the reason of a failure; empty if it succeeded.

    If this coroutine is cancelled, the process is killed. An interrupted download starts again the next time.

    Args:
        on_progress: function that takes each line that the command writes to standard error.
    """
    _, *arguments = shlex.split(command)
    process = await asyncio.create_subprocess_exec(
        *program(),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    last: deque[str] = deque(maxlen=1)
    try:
        assert process.stderr is not None
        rest = b""
        while data := await process.stderr.read(4096):
            # A percentage is rewritten after a carriage return.
            *lines, rest = re.split(rb"[\r\n]", rest + data)
            for text in (sanitize(line.decode(errors="replace"), limit=1000).strip() for line in lines):
                if text:
                    last.append(text)
                    on_progress(text)
        code = await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if code == 0:
        return ""
    return last[0].removeprefix(f"{PROGRAM}: ") if last else f"{command} ended with exit code {code}"


def program() -> list[str]:
    """Return the command that starts metatui."""
    return [sys.executable, "-m", PROGRAM]
