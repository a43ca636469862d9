"""Signals that ask a process to end."""

from __future__ import annotations

import signal

USUAL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, the end of a job's time, a lost connection."""

OTHERS = tuple(
    signal.Signals[name]
    for name in ("SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGPWR")
    if name in signal.Signals.__members__
)
"""Signals that announce the end, and that end a process unless it handles them. They come from schedulers (`sbatch
--signal`, submitit, `qsub -notify`), a limit on CPU time, the timers of a wrapper, or a failing power supply.

SIGQUIT and the signals of a crash are not among them. Python ignores SIGPIPE and SIGXFSZ, so that writing raises."""

SIGNALS = USUAL + OTHERS
