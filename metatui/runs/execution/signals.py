"""Signal handling. After a signal, a run finishes its meta-step and is saved. A second Ctrl-C ends it immediately."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from metatui.utils import slurm
from metatui.utils.end_signals import SIGNALS, USUAL
from metatui.utils.errors import MetatuiError
from metatui.utils.progress import packing


class SignalState:
    """State of the signal handlers: the first signal that asked the process to end, if any, and the reaction to it."""

    signal: signal.Signals | None = None

    def __init__(self) -> None:
        self._interrupt: Callable[[str], object] | None = None
        self._deferred = False

    @property
    def exit_code(self) -> int:
        """Exit code of a run that the signal ended: 128 plus the signal's number, as in shells.

        In a Slurm job, the exit code is `slurm.REQUEUE`, so that the batch script or Slurm (parameter `RequeueExit`)
        can queue the job again. For Ctrl-C, which comes from the user, the exit code is always 130.
        """
        if self.signal in (None, signal.SIGINT):
            return 128 + signal.SIGINT
        assert self.signal is not None
        return slurm.REQUEUE if slurm.job() else 128 + self.signal

    def defer(self) -> None:
        """Defer all signals except Ctrl-C until `then` is called.

        This ensures that a run is saved if a signal arrives while the run is being opened. The packing of images is an
        exception: signals interrupt it, because it may take minutes.
        """
        self._deferred = True

    def then(self, interrupt: Callable[[str], object]) -> None:
        """Set the callback for the first signal: `interrupt` is called with the name of the signal.

        If the signal has already arrived, `interrupt` is called immediately.
        """
        self._interrupt = interrupt
        if self.signal is not None:
            interrupt(self.signal.name)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal. This method can be passed to `signal.signal`."""
        if self.signal is None:
            self.signal = signal.Signals(number)
            if self._interrupt is not None:
                self._interrupt(self.signal.name)
            elif number == signal.SIGINT or not self._deferred:
                raise KeyboardInterrupt
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    def raise_if_signalled(self, done: int, total: int) -> None:
        """Raise KeyboardInterrupt, which stops the packing of images, if a signal has arrived."""
        if self.signal is not None and self._interrupt is None:
            raise KeyboardInterrupt


class EndedEarlyError(MetatuiError):
    """Raised if a signal ends the process before there is anything to save."""

    def __init__(self, ending: SignalState) -> None:
        assert ending.signal is not None
        super().__init__(f"interrupted by {ending.signal.name} before training began")
        self.exit_code = ending.exit_code


def sigterm_is_handled() -> bool:
    """Return whether SIGTERM has the handler of `ending_softly` in this process."""
    return isinstance(getattr(signal.getsignal(signal.SIGTERM), "__self__", None), SignalState)


@contextmanager
def ending_softly(interrupt: Callable[[str], object] | None = None) -> Iterator[SignalState]:
    """Context manager in which the first signal calls `interrupt` with the name of the signal.

    Without `interrupt`, the first signal raises KeyboardInterrupt until `SignalState.then` sets a callback, so that
    the loading of libraries and data ends immediately.

    Further signals are ignored, because a job scheduler may signal both the job and each of its steps, and both the
    kernel and the shell send SIGHUP if the terminal is lost. Only Ctrl-C after the first signal ends the run
    immediately. Signals that are already ignored (nohup) stay ignored, and handlers of other code for the signals in
    `OTHERS` are kept.

    Raises:
        EndedEarlyError: if a signal arrived before `interrupt` was set.
    """
    ending = SignalState()
    if interrupt is not None:
        ending.then(interrupt)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    ours = {
        number: handler
        for number, handler in before.items()
        if handler == signal.SIG_DFL or (number in USUAL and handler not in (signal.SIG_IGN, None))
    }
    try:
        for number in ours:
            signal.signal(number, ending.handle)
        with packing.listener(ending.raise_if_signalled):
            yield ending
    except KeyboardInterrupt:
        if ending.signal is None or ending._interrupt is not None:
            raise
        raise EndedEarlyError(ending) from None
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
