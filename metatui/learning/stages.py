"""Stages of the start of a run, such as loading libraries and measuring engines, which may take a minute.

As in `metatui.learning.data.packing`, the listener is a context variable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

OnStage = Callable[[str], object]
"""Callback that receives a description of the current step, such as `loading the data`."""

_listeners: ContextVar[tuple[OnStage, ...]] = ContextVar("stage listeners", default=())


@contextmanager
def stage_listener(listener: OnStage) -> Iterator[None]:
    """Call `listener` for each stage within this context, after the listeners registered before it."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


def report_stage(stage: str) -> None:
    """Report to all listeners that `stage` begins."""
    for listener in _listeners.get():
        listener(stage)
