"""Tests of child processes: their messages, their start and end, and their priority."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metatui.utils import child_process
from metatui.utils.child_process import Channel, ChildProcess, describe_exit
from metatui.utils.errors import MetatuiError

CHILD = """
import json, os, subprocess, sys
from metatui.utils.child_process import Channel


def main():
    channel = Channel.of_child()
    while request := channel.receive():
        if request["what"] == "sleep":
            subprocess.Popen(["sleep", "60"], close_fds=False)
            channel.send({})
        elif request["what"] == "talk":
            print("printed", flush=True)
            print("an error", file=sys.stderr, flush=True)
            subprocess.run(["echo", "a library says something"])
            channel.send({"leads a session": os.getsid(0) == os.getpid(), "importable": importable()})
        else:
            return 3


def importable():
    try:
        import in_the_current_folder
    except ImportError:
        return False
    return True
"""


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """Return both ends of a channel."""
    channels = tuple(map(Channel, socket.socketpair()))
    yield channels[0], channels[1]
    for channel in channels:
        channel.close()


def test_messages_are_received_in_order(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    theirs.send({"text": "two\nlines\u2028\ud800"})
    theirs.send({})
    theirs.socket.sendall(b'{"incomplete": ')
    theirs.end_sending()
    assert not ours.has_ended()
    assert [ours.receive() for _ in range(3)] == [{"text": "two\nlines\u2028\ud800"}, {}, None]
    assert ours.has_ended()
    ours.send({"still": "open"})
    assert theirs.receive() == {"still": "open"}


def test_channel_has_not_ended_while_it_is_open_or_unread(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    assert not ours.has_ended()
    theirs.send({})
    theirs.close()
    assert not ours.has_ended()
    assert ours.receive() == {}
    assert ours.has_ended()


def test_messages_are_dropped_until_the_end(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    theirs.send({"text": "x" * 3000})
    theirs.end_sending()
    ours.wait_for_end()
    assert ours.has_ended()


@pytest.mark.parametrize(
    ("read", "result"), [(Channel.receive, None), (Channel.wait_for_end, None), (Channel.has_ended, True)]
)
def test_reset_connection_is_the_end(
    read: Callable[[Channel], object], result: object, ends: tuple[Channel, Channel]
) -> None:
    """Check the end of a process that has not read all messages: Linux then resets the connection."""
    ours, theirs = ends
    ours.send({})
    theirs.close()
    assert read(ours) is result


def test_closed_channel_accepts_no_messages(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    theirs.close()
    with pytest.raises(OSError, match="Broken pipe"):
        ours.send({})
    ours.close()
    ours.end_sending()


@pytest.fixture
def child_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a module that a child can run. The current folder contains another module."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "child_of_a_test.py").write_text(CHILD)
    (tmp_path / "in_the_current_folder.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    return "child_of_a_test"


def test_child_leads_a_session_with_its_own_output(
    child_module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "output").open("wb") as output:
        child = ChildProcess(child_module, output=output)
    child.send({"what": "talk"})
    assert child.receive() == {"leads a session": True, "importable": False}
    assert (tmp_path / "output").read_text() == "printed\nan error\na library says something\n"
    assert child.wait(timeout=0) is None
    child.send({"what": "end"})
    assert child.receive() is None
    assert child.wait() == 3
    monkeypatch.setattr(os, "killpg", lambda *_: pytest.fail("another process may have this id now"))
    assert child.end() == 3
    assert child.socket.fileno() == -1


def test_program_of_a_child_does_not_keep_the_channel_open(child_module: str) -> None:
    child = ChildProcess(child_module)
    child.send({"what": "sleep"})
    assert child.receive() == {}
    child.terminate()
    assert child.wait() == -signal.SIGTERM
    assert child.has_ended()
    os.killpg(child.pid, signal.SIGKILL)
    child.close()


def test_child_is_killed_with_its_programs(child_module: str) -> None:
    reader, writer = os.pipe()
    child = ChildProcess(child_module, output=writer)
    os.close(writer)
    child.send({"what": "sleep"})
    assert child.receive() == {}
    assert child.end() == -signal.SIGKILL
    assert select.select([reader], [], [], 30)[0], "a program still has the output open"
    assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.mark.parametrize("error", [ProcessLookupError, PermissionError])
def test_group_that_has_ended_cannot_be_killed(
    error: type[OSError], child_module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    child = ChildProcess(child_module)
    with monkeypatch.context() as patch:
        patch.setattr(os, "killpg", refuse)
        child.kill()
    assert child.end() == -signal.SIGKILL


@pytest.mark.parametrize("name", ["socket.socketpair", "subprocess.Popen"])
def test_process_that_cannot_be_started_is_reported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(f"metatui.utils.child_process.{name}", refuse)
    with pytest.raises(
        MetatuiError, match=r"^a process of metatui cannot be started: resource temporarily unavailable$"
    ):
        ChildProcess("json.tool")


@pytest.mark.parametrize(("title", "shown"), [("metatui run-1", "metatui run-1"), ("", "json.tool")])
def test_command_begins_with_the_title(title: str, shown: str) -> None:
    words = child_process.command("json.tool", 5, 0, title)
    assert words[3].startswith(repr(shown))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-9, "was killed, most likely because memory ran out"),
        (-15, "was terminated by signal 15"),
        (0, "ended with exit code 0"),
        (7, "ended with exit code 7"),
    ],
)
def test_exit_code_is_described(code: int, words: str) -> None:
    assert describe_exit(code) == words


class BusyFile:
    """Fake file whose first writes raise the given errors."""

    def __init__(self, *errors: type[OSError]) -> None:
        self._errors = list(errors)
        self.texts: list[str] = []

    def write_text(self, text: str) -> None:
        if self._errors:
            raise self._errors.pop(0)
        self.texts.append(text)


@pytest.mark.parametrize(
    ("own", "processors", "errors", "written"),
    [
        (10, 1, [], ["10"]),
        (10, 2, [], ["7"]),
        (10, 8, [], ["1"]),
        (10, 16, [], []),
        (19, 1, [BlockingIOError, BlockingIOError], ["19"]),
        (19, 1, [BlockingIOError] * child_process.ATTEMPTS, []),
        (10, 1, [FileNotFoundError], []),
        (0, 1, [], []),
    ],
)
def test_lower_priority(
    own: int, processors: int, errors: list[type[OSError]], written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = BusyFile(*errors)
    monkeypatch.setattr(child_process, "AUTOGROUP", file)
    monkeypatch.setattr(os, "getpriority", lambda kind, who: own - 5)
    monkeypatch.setattr(os, "setpriority", lambda kind, who, niceness: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(processors)), raising=False)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    child_process.lower_priority(5)
    assert file.texts == written


@pytest.mark.skipif(not child_process.AUTOGROUP.exists(), reason="this system compares the niceness of all processes")
def test_niceness_of_a_session() -> None:
    code = "from metatui.utils.child_process import *; lower_priority(99); print(AUTOGROUP.read_text().split()[-1])"
    found = subprocess.run([sys.executable, "-c", code], start_new_session=True, capture_output=True, text=True)
    assert int(found.stdout) == child_process.session_niceness(19)
