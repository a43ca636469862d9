"""Ending a run softly: a signal lets it finish its meta-step and save; a second Ctrl-C ends it at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from metatui.runs import slurm

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a scheduler's end of time, a lost connection."""

WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)
"""What `sbatch --signal` is mostly asked to send before the end of time."""

REQUEUE = 75
"""EX_TEMPFAIL: saved and not over, the same command goes on."""


class Ending:
    """Which signal asked for the end, if one did."""

    signal: signal.Signals | None = None

    @property
    def exit_code(self) -> int:
        """Of a run that ended for it: 128 and its number, as shells count, but `REQUEUE` in a job of Slurm, whose end
        of time and preemption are no reason to give up. Ctrl-C is a person's, also there."""
        if self.signal in (None, signal.SIGINT):
            return 128 + signal.SIGINT
        assert self.signal is not None
        return REQUEUE if slurm.job() else 128 + self.signal


@contextmanager
def ending_softly(interrupt: Callable[[str], object]) -> Iterator[Ending]:
    """Calls `interrupt` with the name of the first signal. What nohup has set to be ignored stays ignored.

    A scheduler may send its signal to the job and to each step, and a lost terminal comes as SIGHUP of the kernel and
    of the shell, so what follows the first signal changes nothing. Only Ctrl-C does, which then ends the run at once.
    """
    watched = SIGNALS + WARNINGS if slurm.job() else SIGNALS
    before = {each: signal.getsignal(each) for each in watched}
    ending = Ending()

    def ask(number: int, frame: FrameType | None) -> None:
        if ending.signal is None:
            ending.signal = signal.Signals(number)
            interrupt(ending.signal.name)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    for each, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(each, ask)
    try:
        yield ending
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
