"""Tests of the control server of a run: access, answers, and viewers that stop reading."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from metatui import events
from metatui.config.settings import Settings
from metatui.events import Change, Command, Curve, Evaluated, Evaluation, Progress, Stop
from metatui.runs.execution.control import client, sockets
from metatui.runs.execution.control import server as server_module
from metatui.runs.execution.control.client import LiveRun, query_activity
from metatui.runs.execution.control.messages import MAX_COMMAND_BYTES, command_line, read_report, report
from metatui.runs.execution.control.server import MAX_PENDING_EVENTS, MAX_VIEWERS, ControlServer
from metatui.runs.execution.control.sockets import listen, socket_path
from metatui.runs.execution.run_state import Outcome
from metatui.runs.storage.lock import RunLock
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.child_process import Channel
from metatui.utils.errors import BadInput

STEP = Progress(1, 0.5, None, 0.7, 0.1, 0.001, 4, 0.01)


@dataclass
class FakeSession:
    """Fake session that records commands but does not train."""

    run: RunFolder
    outcome: Outcome = field(default_factory=Outcome)
    settings: Settings = field(default_factory=Settings)
    commands: list[Command] = field(default_factory=list)

    @property
    def trainer(self) -> FakeSession:
        return self

    def submit(self, command: Command) -> None:
        self.commands.append(command)


class Peer:
    """Viewer that can send arbitrary lines to the control server."""

    def __init__(self, run: RunFolder) -> None:
        self.socket = sockets.connect(run, timeout=20)
        self._lines = self.socket.makefile("rb")

    def read(self) -> dict[str, Any]:
        line = self._lines.readline()
        return json.loads(line) if line else {}

    def send(self, line: bytes) -> None:
        self.socket.sendall(line + b"\n")

    def close(self) -> None:
        self._lines.close()
        self.socket.close()


@pytest.fixture
def session(tmp_path: Path) -> FakeSession:
    (tmp_path / "run").mkdir()
    return FakeSession(RunFolder(tmp_path / "run"))


@pytest.fixture
def server(session: FakeSession) -> Iterator[ControlServer]:
    made = ControlServer(cast(Any, session))
    assert made.open() is None
    yield made
    made.close()


@pytest.fixture
def peer(session: FakeSession, server: ControlServer) -> Iterator[Peer]:
    made = Peer(session.run)
    yield made
    made.close()


def test_hello_describes_the_run(
    session: FakeSession, server: ControlServer, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "QUERY_SECONDS", 20)
    hello = peer.read()["hello"]
    assert (hello["protocol"], hello["run"], hello["pid"]) == (1, "run", os.getpid())
    assert (hello["phase"], hello["iteration"]) == ("running", 0)
    assert Settings.model_validate_json(json.dumps(hello["settings"])) == Settings()

    session.outcome.update(replace(STEP, iteration=12))
    session.outcome.update(events.Paused(12))
    server.send(events.Paused(12))
    assert peer.read() == {"paused": {"iteration": 12}}
    second = Peer(session.run)
    hello = second.read()["hello"]
    assert (hello["phase"], hello["iteration"]) == ("paused", 12)
    assert query_activity(session.run) == ("paused", None)
    event = events.Evaluating(12, "val", 2, 5)
    server.send(event)
    assert peer.read()["evaluating"]["tasks"] == 5
    third = Peer(session.run)
    assert third.read()["hello"]["phase"] == "evaluating"
    assert third.read()["evaluating"]["done"] == 2
    assert query_activity(session.run) == ("evaluating", event)
    server.send(events.Checkpointed(12, "last"))
    assert query_activity(session.run)[1] is None
    server.close()
    assert query_activity(session.run) == (None, None)
    second.close()
    third.close()


def test_socket_is_private_to_its_owner(session: FakeSession, server: ControlServer) -> None:
    about = socket_path(session.run).lstat()
    assert stat.S_ISSOCK(about.st_mode)
    assert stat.S_IMODE(about.st_mode) == 0o600


def test_other_user_is_disconnected(
    session: FakeSession, server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = sockets.connect(session.run, timeout=20)
    connection.close()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    stranger = socket.socket(socket.AF_UNIX)
    stranger.connect(str(socket_path(session.run)))
    assert stranger.recv(100) == b""
    stranger.close()


def test_socket_of_another_user_is_refused(
    session: FakeSession, server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "is_own", lambda connection: False)
    with pytest.raises(PermissionError, match="belongs to another user"):
        sockets.connect(session.run, timeout=20)


def test_commands_are_validated(session: FakeSession, peer: Peer) -> None:
    peer.read()
    peer.send(b'{"change": {"path": "algorithm.inner_lr", "value": 0.005}}')
    peer.send(b'{"stop": {}}')
    for line in (
        b"nonsense",
        b"",
        b"[1]",
        b"{}",
        b'{"explode": {}}',
        b'{"pause": null}',
        b'{"pause": {}, "resume": {}}',
        b'{"change": {"path": "algorithm.inner_lr"}}',
        b'{"change": {"path": "algorithm.inner_lr", "value": null}}',
        b'{"stop": {"reason": "iterations"}}',
        b'{"stop": {"reason": "stopped", "exit": 1}}',
        b"\xff\xfe\x00\x1b[2J",
        b"[" * 10_000,
        b'{"change": {"path": "x", "value": ' + b"9" * 10_000 + b"}}",
    ):
        peer.send(line)
        (kind, sentence), = peer.read().items()  # fmt: skip
        assert kind == "refused", line
        assert "is not a command. A command is a JSON object" in sentence
        assert "with one of the keys pause, resume, stop, checkpoint, evaluate, change. " in sentence
        assert sentence.isprintable()
    assert session.commands == [Change("algorithm.inner_lr", 0.005), Stop()]


def test_overlong_line_is_refused_once(session: FakeSession, peer: Peer) -> None:
    peer.read()
    peer.send(b'{"pause": "' + b"x" * 10_000_000 + b'"}')
    assert peer.read() == {"refused": f"a command must be one line of at most {MAX_COMMAND_BYTES:,} bytes"}
    peer.send(b'{"pause": {}}')
    peer.send(b"?")
    assert "not a command" in peer.read()["refused"]
    assert session.commands == [events.Pause()]


def test_flood_of_bad_lines_does_not_stall_others(session: FakeSession, peer: Peer) -> None:
    for _ in range(20_000):
        peer.send(b"?")
    peer.send(b'{"pause": {}}')
    other = Peer(session.run)
    assert other.read()["hello"]
    other.send(b"?")
    assert other.read()["refused"]  # sent after the flood
    other.close()


def test_progress_is_batched_and_other_events_are_not(server: ControlServer, peer: Peer) -> None:
    peer.read()
    for number in range(1, 101):
        server.send(replace(STEP, iteration=number))
    server.send(events.Noted(100, "a note"))
    seen: list[int] = []
    while "progress" in (message := peer.read()):
        seen += [step["iteration"] for step in message["progress"]]
    assert message == {"noted": {"iteration": 100, "text": "a note"}}
    assert seen == list(range(1, 101))


def test_stalled_viewer_loses_only_progress_and_images(server: ControlServer, session: FakeSession, peer: Peer) -> None:
    other = Peer(session.run)
    other.read()
    views = (events.ImageView(0, "t", 100, 100, (bytes(10_000),) * 5, (0,), (), (), (), (), ()),)
    curve = Curve((0.5,), (0.1,))
    for number in range(1, 1001):
        evaluation = Evaluation("val", 5, 1, 1, 5, None, number, (0,), curve, curve, 0.1)
        server.send(Evaluated(evaluation, views, best=False))
        server.send(replace(STEP, iteration=number))
        server.send(events.Tweaked(number, "algorithm.inner_lr", 0.1, 0.2))
        while "tweaked" not in other.read():  # this viewer keeps up, so only the queue of the first one grows
            pass
    other.close()
    assert peer.read()["hello"]
    tweaks: list[int] = []
    validations: list[int] = []
    pictures: list[int] = []
    steps: list[int] = []
    while len(tweaks) < 1000:
        message = peer.read()
        match message:
            case {"tweaked": tweak}:
                tweaks.append(tweak["iteration"])
            case {"evaluated": evaluated}:
                validations.append(evaluated["evaluation"]["iteration"])
                pictures += [evaluated["evaluation"]["iteration"]] if evaluated["views"] else []
            case {"progress": more}:
                steps += [step["iteration"] for step in more]
    assert tweaks == validations == list(range(1, 1001))
    assert pictures[-1] == 1000
    assert len(pictures) < 200
    assert len(steps) < 200


def test_viewer_that_lags_far_behind_loses_the_oldest_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_VIEWER_EVENTS", 3)
    notes = [events.Noted(number, "a note") for number in range(5)]
    assert server_module._without_stale([*notes[:4], STEP, notes[4]]) == notes[2:]


def test_queue_is_bounded(server: ControlServer, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    peer.read()
    monkeypatch.setattr(server, "_broadcast", lambda: None)
    for number in range(3 * MAX_PENDING_EVENTS):
        server.send(replace(STEP, iteration=number + 1))
    assert len(server._news) <= MAX_PENDING_EVENTS


def test_nothing_is_queued_without_viewers(server: ControlServer) -> None:
    server.send(STEP)
    server.send(events.Paused(1))
    assert not server._news


def test_number_of_viewers_is_limited(session: FakeSession, server: ControlServer) -> None:
    peers = [Peer(session.run) for _ in range(MAX_VIEWERS)]
    assert all(peer.read()["hello"] for peer in peers)
    late = Peer(session.run)
    assert late.read() == {}
    for peer in (*peers, late):
        peer.close()


def test_viewers_come_and_go(session: FakeSession, server: ControlServer, peer: Peer) -> None:
    peer.read()
    for number in range(1, 30):
        other = Peer(session.run)
        other.read()
        server.send(events.Paused(number))
        other.close()
        assert peer.read() == {"paused": {"iteration": number}}


def test_command_before_disconnecting_is_executed(session: FakeSession, server: ControlServer, peer: Peer) -> None:
    peer.read()
    for number in range(1, 30):
        other = Peer(session.run)
        other.send(b'{"checkpoint": {}}')
        other.close()
        server.send(events.Paused(number))
        assert peer.read() == {"paused": {"iteration": number}}
    for _ in range(100):  # until all commands are read
        peer.send(b"?")
        assert peer.read()["refused"]
    assert session.commands == [events.Checkpoint()] * 29


def test_event_that_cannot_be_encoded_is_skipped(server: ControlServer, peer: Peer) -> None:
    peer.read()
    server.send(events.Warned(1, "\udc80"))
    server.send(events.Paused(2))
    assert peer.read() == {"paused": {"iteration": 2}}


def test_oversized_images_are_left_out(server: ControlServer, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_REPORT_BYTES", 1000)
    peer.read()
    view = events.RegressionView(0, "t", (1.0,), (1.0,), tuple(map(float, range(1000))), (), (), ())
    curve = Curve((0.5,), (0.1,))
    server.send(Evaluated(Evaluation("val", 5, 1, 1, None, None, 3, (0,), curve, None, 0.1), (view,), best=True))
    assert peer.read()["evaluated"]["views"] == []


def test_close_sends_the_end_and_removes_the_socket(session: FakeSession, server: ControlServer, peer: Peer) -> None:
    peer.read()
    server.send(events.Finished(30, "iterations", 1.0, None))
    server.close()
    assert peer.read()["finished"]["iteration"] == 30
    assert peer.read() == {}
    assert not os.path.lexists(socket_path(session.run))


def test_socket_of_a_later_run_is_not_removed(session: FakeSession, server: ControlServer) -> None:
    """Check that a control server does not remove a socket that another run has created at the same path.

    A run fails after its folder has been deleted. Before it fails, another run may start in a new folder at this path.
    """
    path = socket_path(session.run)
    path.unlink()
    path.touch()
    server.close()
    assert path.exists()


def test_stale_socket_is_replaced(session: FakeSession) -> None:
    path = socket_path(session.run)
    listen(session.run).close()
    assert stat.S_ISSOCK(path.lstat().st_mode)
    with pytest.raises(ConnectionRefusedError):
        sockets.connect(session.run, timeout=20)
    for _ in range(2):
        server = ControlServer(cast(Any, session))
        assert server.open() is None
        peer = Peer(session.run)
        assert peer.read()["hello"]
        peer.close()
        server.close()
        (session.run.path / "elsewhere").touch()
        path.symlink_to(session.run.path / "elsewhere")  # the next server must replace the link, not its target
    assert (session.run.path / "elsewhere").is_file()


def test_long_paths_are_supported(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 120) / ("ä" * 100)
    path.mkdir(parents=True)
    session = FakeSession(RunFolder(path))
    server = ControlServer(cast(Any, session))
    assert server.open() is None
    peer = Peer(session.run)
    assert peer.read()["hello"]
    peer.close()
    server.close()
    assert not os.path.lexists(socket_path(session.run))


def test_unusable_socket_path_is_reported(session: FakeSession) -> None:
    (socket_path(session.run) / "obstacle").mkdir(parents=True)
    server = ControlServer(cast(Any, session))
    problem = server.open()
    assert problem
    assert problem.startswith("No other process can show or stop this run: ")
    assert "control.sock' cannot be created" in problem
    server.send(events.Paused(1))
    server.close()
    assert (socket_path(session.run) / "obstacle").is_dir()


@pytest.mark.parametrize(
    ("function", "error", "sentence"),
    [
        ("threading.Thread.start", RuntimeError("can't start new thread"), "can't start new thread"),
        ("asyncio.new_event_loop", OSError(errno.EMFILE, "Too many open files"), "too many open files"),
    ],
)
def test_failure_to_start_is_reported(
    function: str, error: Exception, sentence: str, session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise error

    monkeypatch.setattr(function, refused)
    server = ControlServer(cast(Any, session))
    assert server.open() == f"No other process can show or stop this run: {sentence}"
    server.send(events.Paused(1))
    server.close()
    assert not os.path.lexists(socket_path(session.run))


def test_adopted_viewer_misses_nothing(session: FakeSession) -> None:
    ours, theirs = socket.socketpair()
    server = ControlServer(cast(Any, session))
    server.adopt(theirs)
    server.send(events.Noted(0, "first"))
    assert server.open() is None
    lines = ours.makefile("rb")
    assert "hello" in json.loads(lines.readline())
    assert json.loads(lines.readline()) == {"noted": {"iteration": 0, "text": "first"}}
    server.close()
    lines.close()
    ours.close()


@pytest.mark.parametrize(
    "event",
    [
        events.Started(Settings(), "cpu", "a CPU", "loop", "asked for", 12, 0),
        events.Tweaked(3, "model.hidden", (1, 2), (3,)),
        events.Warned(0, "ä\x1b"),
        events.Failed(3, "no"),
        events.Checkpointed(3, "best"),
        events.Finished(
            9, "iterations", 1.5,
            Evaluation("test", 5, 1, 1, 5, "transductive", 9, (0, 1), Curve((0.1, 0.2), (float("nan"), float("inf"))),
                       None, 0.1),
            (events.ImageView(0, "t", 1, 2, (b"\x00\xff",), (0,), (b"ab",), (1,), ((1,),), (0.5,), (0.1,)),),
        ),
    ],
)  # fmt: skip
def test_events_survive_the_round_trip(event: events.Event) -> None:
    line = report(event).line()
    assert line.count(b"\n") == 1
    read = read_report(line)
    assert read
    assert repr(read.content) == repr(event)  # NaN is not equal to itself


class TestAttaching:
    def test_ended_run_is_refused(self, session: FakeSession) -> None:
        with pytest.raises(BadInput, match="run 'run' is not training: it is interrupted"):
            LiveRun.attach(session.run)

    def test_unreachable_process_is_named(self, session: FakeSession) -> None:
        lock = RunLock(session.run.lock_path)
        with pytest.raises(BadInput, match="trained by this process, which cannot be reached from here: no such file"):
            LiveRun.attach(session.run)
        listen(session.run).close()
        with pytest.raises(BadInput, match="cannot be reached from here: connection refused"):
            LiveRun.attach(session.run)
        lock.release()

    def test_commands_that_fill_the_buffer_are_sent_later(self, session: FakeSession, peer: Peer) -> None:
        run, viewer = socket.socketpair()
        run.settimeout(20)
        run.sendall(json.dumps(peer.read()).encode() + b"\n")
        live = LiveRun(session.run, Channel(viewer))
        commands = [Change("algorithm.inner_lr", 1 / number) for number in range(1, 10_001)]
        for command in commands:
            live.submit(command)
        expected = b"".join(map(command_line, commands))
        assert len(expected) > len(live._unsent) > 0
        received, answers = b"", iter(live)
        while len(received) < len(expected):
            received += run.recv(len(expected))
            run.sendall(b'{"noted": {"iteration": 1, "text": "a note"}}\n')
            next(answers)
        assert received == expected
        live.close()
        run.close()

    def test_link_to_another_socket_is_refused(self, session: FakeSession, tmp_path: Path) -> None:
        agent = socket.socket(socket.AF_UNIX)
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        socket_path(session.run).symlink_to(tmp_path / "agent")
        lock = RunLock(session.run.lock_path)
        with pytest.raises(BadInput, match="sock is not a socket"):
            LiveRun.attach(session.run)
        lock.release()
        agent.close()

    @pytest.mark.parametrize(
        ("line", "why"),
        [
            (b"", "it closed the connection before its first message"),
            (b"SSH-2.0-OpenSSH_9\r\n", "the socket does not belong to a metatui run"),
            (b'{"hello": {"protocol": 1}}\n', "the socket does not belong to a metatui run"),
            (b'{"paused": {"iteration": 1}}\n', "the socket does not belong to a metatui run"),
            (b'{"hello": {"protocol": 2}}\n', "it uses protocol 2, but this version of metatui uses 1"),
            (b"x" * 2_000_000, "the socket does not belong to a metatui run"),
        ],
    )
    def test_bad_hello_is_refused(
        self, line: bytes, why: str, session: FakeSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "MAX_REPORT_BYTES", 100_000)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
            ours.setblocking(False)
            ours.send(line or b"x")
            ours.shutdown(socket.SHUT_WR)
            lock = RunLock(session.run.lock_path)
            monkeypatch.setattr(client, "connect", lambda run, timeout: theirs)
            with pytest.raises(BadInput, match=why):
                LiveRun.attach(session.run)
            lock.release()
