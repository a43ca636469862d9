"""Signals that ask a process to end."""

from __future__ import annotations

import signal

USUAL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals for Ctrl-C, a request to terminate (for example at a job's time limit), and a lost connection."""

OTHERS = tuple(
    signal.Signals[name]
    for name in ("SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGPWR")
    if name in signal.Signals.__members__
)
"""Other signals that announce that a process will be ended and, by default, terminate it. They come from schedulers
(`sbatch --signal`, submitit, `qsub -notify`), a CPU time limit, the timers of a wrapper, or a failing power supply.

SIGQUIT and crash signals are excluded. Python ignores SIGPIPE and SIGXFSZ, so a failing write raises an exception
instead."""

SIGNALS = USUAL + OTHERS
