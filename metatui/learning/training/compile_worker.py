"""A process that compiles the meta-step of a run.

The compiler runs in a separate process. In a thread of the trainer, it would hold the global interpreter lock. Also,
torch.compiler.is_compiling() would be true for the whole process, and Adam would then compute its bias corrections in
float32, so the results of the run would depend on the speed of the compiler.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress

from metatui.config.fields import parse
from metatui.config.settings import Settings
from metatui.learning.engines.compiled.aot_package import CompileFailedError
from metatui.learning.experiment import set_up
from metatui.learning.training.learner import Learner
from metatui.utils.child_process import Channel, ChildProcess
from metatui.utils.end_signals import SIGNALS

UNEXPECTED_END = "the compiler ended unexpectedly"


def start(settings: Settings) -> ChildProcess:
    """Start a process that compiles the meta-step of `settings`. The new process ends when this one ends.

    The only message from the new process has the key `error`. Its value is None, or the reason why the compilation
    failed.
    """
    child = ChildProcess("metatui.learning.training.compile_worker", niceness=10)
    with suppress(OSError):  # if it has already died, the caller receives no answer
        child.send(settings.model_dump(mode="json"))
    return child


def compile_in_child(settings: Settings) -> None:
    """Compile in a child process and wait for it.

    Raises:
        CompileFailedError: if the compilation failed.
    """
    compiler = start(settings)
    try:
        answer = compiler.receive() or {"error": UNEXPECTED_END}
    finally:
        compiler.end()
    if answer["error"]:
        raise CompileFailedError(answer["error"])


def main() -> None:
    channel = Channel.of_child()
    for number in SIGNALS:  # a scheduler signals all processes of a job, but only the run may end its compiler
        signal.signal(number, signal.SIG_IGN)
    if (request := channel.receive()) is None:
        return
    threading.Thread(target=_end_with_parent, args=(channel,), daemon=True).start()
    settings = parse(request)
    learner = Learner(set_up(settings))
    assert learner.graphs is not None
    error = None
    try:
        learner.graphs.compile(learner.sample(range(settings.algorithm.meta_batch)), settings.algorithm)
    except CompileFailedError as failure:
        error = str(failure)
    channel.send({"error": error})


def _end_with_parent(channel: Channel) -> None:
    """Kill this process and the C++ compiler in its process group when the run ends, even if the run is killed."""
    channel.wait_for_end()
    os.killpg(0, signal.SIGKILL)
