"""Signals that ask a process to end."""

from __future__ import annotations

import signal

USUAL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, the time limit of a job, a lost connection."""

OTHERS = tuple(
    signal.Signals[name]
    for name in ("SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGPWR")
    if name in signal.Signals.__members__
)
"""Other signals that end a process unless it handles them. They come from schedulers (`sbatch --signal`, submitit,
`qsub -notify`), a limit on CPU time, the timers of a wrapper, or a failing power supply.

SIGQUIT and the signals of a crash are left out. Python ignores SIGPIPE and SIGXFSZ, so writing raises instead."""

SIGNALS = USUAL + OTHERS
