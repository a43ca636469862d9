"""Tests of the choice of signals that ask a process to end."""

from __future__ import annotations

import signal

import pytest

from metatui.utils.end_signals import SIGNALS


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("a terminal", ["SIGINT", "SIGHUP"]),
        ("a scheduler", ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGXCPU"]),
        ("a timer", ["SIGALRM", "SIGVTALRM", "SIGPROF"]),
        ("a failing power supply", ["SIGPWR"]),
    ],
)
def test_signals_that_ask_to_end(source: str, names: list[str]) -> None:
    assert {number for name, number in signal.Signals.__members__.items() if name in names} <= set(SIGNALS)


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGABRT, signal.SIGSEGV, signal.SIGPIPE, signal.SIGXFSZ])
def test_signals_with_another_meaning(number: signal.Signals) -> None:
    assert number not in SIGNALS
