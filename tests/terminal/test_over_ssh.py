"""Test that a run continues after its SSH connection is lost. The SSH server runs on this machine."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import metatui as package
from tests.terminal.checks import assert_nothing_lost, iterations_of, processes_of, runs, trainer_pid, wait_for
from tests.terminal.program import METATUI, Program, environment
from tests.terminal.terminal import PATIENCE

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

pytestmark = pytest.mark.skipif(
    not (SSHD and shutil.which("ssh") and shutil.which("ssh-keygen") and Path("/proc/self/environ").exists()),
    reason="needs sshd, ssh, ssh-keygen and /proc",
)


@pytest.fixture
def ssh_command(tmp_path: Path, home_environment: dict[str, str]) -> Iterator[Sequence[str]]:
    """Start an SSH server on this machine, and yield an `ssh` command to which a test appends the remote command."""
    assert SSHD
    here = tmp_path / "ssh"
    here.mkdir(mode=0o700)
    for key in ("host", "own"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", here / key], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (here / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {here}/host\nAuthorizedKeysFile {here}/own.pub\n"
        "StrictModes no\nPidFile none\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    with (here / "log").open("wb") as log:
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", here / "config"], stdin=subprocess.DEVNULL, stderr=log)
    command = [
        "ssh", "-tt", "-i", str(here / "own"), "-p", str(port), "-F", "none", "-o", "IdentitiesOnly=yes",
        "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
        f"{getpass.getuser()}@127.0.0.1",
    ]  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while subprocess.run([*command, "true"], env=environment() | home_environment, capture_output=True).returncode:
            if server.poll() is not None:
                pytest.skip(f"sshd does not run here: {(here / 'log').read_text().strip()}")
            assert time.monotonic() < deadline, (here / "log").read_text()
            time.sleep(0.1)
        yield command
    finally:
        server.terminate()
        server.wait(PATIENCE)


def test_run_continues_after_a_lost_connection(
    ssh_command: Sequence[str], home_environment: dict[str, str], runs_dir: Path
) -> None:
    def metatui(*arguments: str) -> Sequence[str]:
        there = environment() | home_environment | {"PYTHONPATH": str(Path(package.__file__).parent.parent)}
        setting = [f"{name}={value}" for name, value in there.items()]
        return [*ssh_command, "env", *setting, *METATUI, *arguments]

    settings = {"training.iterations": 4000, "compute.device": "cpu", "compute.engine": "batched"}
    options = [word for path, value in settings.items() for word in ("--set", f"{path}={value}")]
    with Program(command=metatui("--preset", "quick", *options, "--start"), env=home_environment) as program:
        program.see("Running")
        program.see_progress()
        (run,) = runs(runs_dir)
        program.process.kill()  # as if the client's machine crashed
        assert program.wait() == -signal.SIGKILL
    wait_for(lambda: processes_of(runs_dir) <= {trainer_pid(run)})
    with Program(command=metatui("attach", run.id), env=home_environment) as program:
        program.see("Running", run.id)
        program.see_progress()
        program.see("Finished")
    assert iterations_of(run, "finished") == [4000]
    assert_nothing_lost(run)
    wait_for(lambda: not processes_of(runs_dir))
