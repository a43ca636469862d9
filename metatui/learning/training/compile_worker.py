"""Compile a run's meta-step beside it: `command`, with the settings as JSON on standard input.

A process of its own, because a compiler at work in a thread of the trainer's process would hold Python's lock, and
because torch.compiler.is_compiling() is true for the whole process then, at which torch.optim.Adam computes its bias
corrections in float32: the run's numbers would depend on how long the compiler took.
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

LOOK_EVERY = 1.0
"""Seconds between looks for the run that this is for."""


def command() -> list[str]:
    """What compiles for this process, and ends with it."""
    return [*module("metatui.learning.training.compile_worker"), str(os.getpid())]


def main() -> int:
    """0 where it is compiled; else 1, and a sentence on standard output."""
    os.nice(10)
    for number in SIGNALS:  # sent to every process of a job, but the run decides when its compiler ends
        signal.signal(number, signal.SIG_IGN)
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    threading.Thread(target=_end_with, args=(int(sys.argv[1]),), daemon=True).start()
    settings = parse(json.load(sys.stdin))
    algorithm = ALGORITHMS[settings.algorithm.name](set_up(settings))
    assert algorithm.graphs is not None
    try:
        algorithm.graphs.compile(algorithm.sample(range(settings.algorithm.meta_batch)), settings.algorithm)
    except CompileFailed as failed:
        print(failed)
        return 1
    return 0


def _end_with(parent: int) -> None:
    """A run that is killed cannot end what it started: this process, and the C++ compiler in its group."""
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY)
    os.killpg(0, signal.SIGKILL)
