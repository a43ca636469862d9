"""What every test stands on."""

from __future__ import annotations

import os
import signal

import pytest

# Tests run side by side, so each keeps to one core; torch reads this when it is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config: pytest.Config) -> None:
    """Programs that tests start inherit which signals are ignored: under nohup, or in the background of a script, that
    would be the very signals that they are sent."""
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, default)
