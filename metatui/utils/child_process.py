"""Child processes that run a module of metatui and exchange JSON lines with the process that started them.

Messages go over a socket pair instead of standard input and output, so output that a library prints is never mistaken
for a message. When either process ends, the other reads the end of the stream.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from metatui.utils.errors import MetatuiError
from metatui.utils.files import reason
from metatui.utils.processors import allowed_processors

Message = dict[str, Any]

AUTOGROUP = Path("/proc/self/autogroup")
"""File with the niceness of this process's session on Linux."""
ATTEMPTS = 20
"""Maximum number of attempts to change the niceness of the session, made a tenth of a second apart."""


class Channel:
    """Channel that exchanges JSON objects, one per line, over a connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.file = connection.makefile("rb")

    @classmethod
    def of_child(cls) -> Channel:
        """Open the channel to the parent in a process that `ChildProcess` started."""
        connection = socket.socket(fileno=int(sys.argv[1]))
        connection.set_inheritable(False)
        return cls(connection)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message. Raises OSError if the other process has ended."""
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> Message | None:
        """Wait for a message. Return None if the other process has ended or has closed the channel."""
        try:
            line = self.file.readline()
        except OSError:
            return None
        message: Message | None = json.loads(line) if line.endswith(b"\n") else None
        return message

    def wait_for_end(self) -> None:
        """Wait until the other process has ended or has called `end_sending`. Messages that arrive are dropped.

        Unlike `receive`, this method is suitable for daemon threads: it holds no lock that Python must acquire to exit.
        """
        with suppress(OSError):
            while self.socket.recv(1024):
                pass

    def has_ended(self) -> bool:
        """Return True if no messages are unread, and the other process has ended or has called `end_sending`."""
        try:
            return not self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def end_sending(self) -> None:
        """Tell the other process that no more messages follow."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.file.close()
        self.socket.close()


class ChildProcess(Channel):
    """A child process that runs `main` of a module and opens its end of the channel with `Channel.of_child`.

    The child leads its own session, so Ctrl-C in the terminal does not reach it. It does not import modules from its
    current directory.
    """

    def __init__(
        self, module: str, *, title: str = "", niceness: int = 0, output: IO[bytes] | int = subprocess.DEVNULL
    ) -> None:
        """Start `module`.

        Args:
            title: description of the child, which tools such as `ps` show; by default, the name of the module.
            niceness: niceness of the child relative to this process, from 0 (the same priority) to 19 (lowest).
            output: file for the child's output.

        Raises:
            MetatuiError: if no process can be started, for example because the user's process limit is reached.
        """
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise _not_started(error) from None
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command(module, theirs.fileno(), niceness, title),
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            raise _not_started(error) from None
        super().__init__(ours)
        self.pid = self._process.pid

    def terminate(self) -> None:
        """Ask the child to end (SIGTERM)."""
        self._process.terminate()

    def kill(self) -> None:
        """Kill the child and the processes in its group. Signal handlers and other threads may call this method."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):  # macOS refuses to signal a group of zombies
                os.killpg(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the child to end. Return its exit code (negative after a signal), or None on a timeout."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout)
        return None

    def end(self) -> int:
        """Kill the child if it is still running, close the channel, and return the exit code."""
        self.kill()
        code = self._process.wait()
        self.close()
        return code

    def detach(self) -> None:
        """Let the child continue to run. A thread waits for its end, so that no zombie process remains."""
        threading.Thread(target=self._process.wait, name=f"process {self.pid}", daemon=True).start()


def _not_started(error: OSError) -> MetatuiError:
    return MetatuiError(f"a process of metatui cannot be started: {reason(error)}")


def command(module: str, handle: int, niceness: int, title: str = "") -> list[str]:
    """Return the command that runs `main` of `module` with file descriptor `handle` as its channel.

    The Python code starts with a string that has no effect: `title`, or the name of the module. This string
    identifies the process in the output of tools such as `ps`.
    """
    start = (
        f"{title or module!r}; import sys; sys.path.append(sys.argv.pop()); "
        f"from {__name__} import lower_priority; lower_priority({niceness}); "
        f"from {module} import main; sys.exit(main())"
    )
    return [sys.executable, "-P", "-c", start, str(handle), str(Path(__file__).parents[2])]


def lower_priority(niceness: int) -> None:
    """Raise the niceness of this process, which leads a session, by `niceness`.

    Linux compares niceness only within a session ("autogroup" in sched(7)), so the niceness of the session is raised,
    too. Otherwise, the process would take as much processor time as the app that started it.
    """
    own = min(19, os.getpriority(os.PRIO_PROCESS, 0) + niceness)
    # On Linux, PRIO_PROCESS would change only this thread, and not those that libraries have started.
    os.setpriority(os.PRIO_PGRP, 0, own)
    total = session_niceness(own)
    for _ in range(ATTEMPTS if total else 0):
        try:
            AUTOGROUP.write_text(str(total))
        except BlockingIOError:  # Linux accepts only one such change in a tenth of a second
            time.sleep(0.1)
            continue
        except OSError:  # another system, or a kernel without this feature
            pass
        return


def session_niceness(niceness: int) -> int:
    """Return the niceness to give to the session of this process, so that each of its threads has about `niceness`.

    On Linux, each session is a scheduling group (an autogroup) with a weight of its own. This weight is divided among
    the processors that the threads of the session use, so each thread gets only a part of it. A lower niceness makes up
    for this: each step multiplies the weight by 1.25. With the returned niceness, a thread of the session gets the
    share of a processor that a single process with `niceness` would get.
    """
    return max(0, round(niceness - math.log(len(allowed_processors()), 1.25)))


def describe_exit(code: int) -> str:
    """Return a description of an unexpected exit code, worded to follow "the process"."""
    if code == -signal.SIGKILL:
        return "was killed, most likely because memory ran out"
    return f"was terminated by signal {-code}" if code < 0 else f"ended with exit code {code}"
