"""Compile a run's meta-step in a process beside it.

A separate process, because a compiler in a thread of the trainer's process would hold Python's lock, and because
torch.compiler.is_compiling() would be true for the whole process. torch.optim.Adam then computes its bias corrections
in float32, so the run's numbers would depend on how long the compiler took.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress

from metatui.config.fields import parse
from metatui.config.settings import Settings
from metatui.learning.algorithms import ALGORITHMS
from metatui.learning.engines.compiled.aot_package import CompileFailed
from metatui.learning.training.experiment import set_up
from metatui.utils.child_process import Channel, ChildProcess
from metatui.utils.end_signals import SIGNALS


def start(settings: Settings) -> ChildProcess:
    """Start a process that compiles the meta-step of `settings` and ends with this process.

    It answers with one message, whose `error` is None or says why compiling failed.
    """
    child = ChildProcess("metatui.learning.training.compile_worker", niceness=10)
    with suppress(OSError):  # it died already, which its missing answer says
        child.send(settings.model_dump(mode="json"))
    return child


def main() -> None:
    channel = Channel.of_child()
    for number in SIGNALS:  # schedulers signal every process of a job, but the run decides when its compiler ends
        signal.signal(number, signal.SIG_IGN)
    if (request := channel.receive()) is None:
        return
    threading.Thread(target=_end_with_parent, args=(channel,), daemon=True).start()
    settings = parse(request)
    algorithm = ALGORITHMS[settings.algorithm.name](set_up(settings))
    assert algorithm.graphs is not None
    error = None
    try:
        algorithm.graphs.compile(algorithm.sample(range(settings.algorithm.meta_batch)), settings.algorithm)
    except CompileFailed as failed:
        error = str(failed)
    channel.send({"error": error})


def _end_with_parent(channel: Channel) -> None:
    """End this process and the C++ compiler in its group when the run that started it is gone."""
    channel.wait_for_end()
    os.killpg(0, signal.SIGKILL)
