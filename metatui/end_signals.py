"""Signals that ask a process to end."""

from __future__ import annotations

import signal

USUAL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a scheduler's end of time, a lost connection."""

OTHERS = tuple(
    signal.Signals[name]
    for name in ("SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGPWR")
    if name in signal.Signals.__members__
)
"""Signals that end a process unless it handles them, and that are sent to announce the end: by schedulers (`sbatch
--signal`, submitit, `qsub -notify`), by the limit on CPU time, by timers that a wrapper has set, before a power cut.

SIGQUIT and the signals of a crash keep their meaning. Python ignores SIGPIPE and SIGXFSZ, so that writing raises."""

SIGNALS = USUAL + OTHERS
