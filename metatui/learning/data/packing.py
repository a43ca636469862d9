"""Progress of decoding a folder of images, which may take minutes before a run starts.

The images are decoded deep inside the code that needs them, such as a run or a comparison, so the listener is a context
variable instead of an argument passed through every layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

OnPacked = Callable[[int, int], object]
"""Callback that takes the number of decoded images, starting at 0, and the total."""

_listeners: ContextVar[tuple[OnPacked, ...]] = ContextVar("packing listeners", default=())


@contextmanager
def packing_listener(listener: OnPacked) -> Iterator[None]:
    """Call `listener` for each progress report within this context, after the listeners registered before it."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


def report_packing(done: int, total: int) -> None:
    """Report progress to all listeners."""
    for listener in _listeners.get():
        listener(done, total)
