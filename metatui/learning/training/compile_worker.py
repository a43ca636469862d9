"""A process that compiles the meta-step of a run, with the run's settings as JSON on standard input.

Compiling needs its own process. In a thread of the trainer, the compiler would hold Python's lock. Besides,
torch.compiler.is_compiling() would be true for the whole process, and Adam then computes its bias corrections in
float32: the numbers of the run would depend on the speed of the compiler.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

from metatui.config.fields import parse
from metatui.learning.algorithms import ALGORITHMS
from metatui.learning.engines.compiled.aot_package import CompileFailed
from metatui.learning.training.experiment import set_up
from metatui.utils.end_signals import SIGNALS
from metatui.utils.subprocesses import module

PARENT_CHECK_INTERVAL = 1.0
"""Seconds between checks whether the run is still alive."""


def command() -> list[str]:
    """Return the command line of a compiler that ends when this process ends."""
    return [*module("metatui.learning.training.compile_worker"), str(os.getpid())]


def main() -> int:
    """Compile, and return 0. If that fails, print the reason and return 1."""
    os.nice(10)
    # A scheduler signals all processes of a job, but only the run may end its compiler.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    threading.Thread(target=_end_with, args=(int(sys.argv[1]),), daemon=True).start()
    settings = parse(json.load(sys.stdin))
    algorithm = ALGORITHMS[settings.algorithm.name](set_up(settings))
    assert algorithm.graphs is not None
    try:
        algorithm.graphs.compile(algorithm.sample(range(settings.algorithm.meta_batch)), settings.algorithm)
    except CompileFailed as error:
        print(error)
        return 1
    return 0


def _end_with(parent: int) -> None:
    """Kill this process and the C++ compiler in its group when the run ends, even if the run was killed."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_INTERVAL)
    os.killpg(0, signal.SIGKILL)
