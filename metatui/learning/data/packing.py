"""Who is told while a folder's images are packed, which may take minutes before a run can say anything.

The packing is deep below whatever needs the images, a run as well as a comparison: what listens is known by context
rather than handed down through all that is in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

OnPacked = Callable[[int, int], object]
"""Told how many images are packed, from none on, and of how many."""

_listening: ContextVar[OnPacked | None] = ContextVar("listening to packing", default=None)


@contextmanager
def told_of_packing(listener: OnPacked) -> Iterator[None]:
    """Call `listener` about all packing in this thread and context, after the listeners that are already there."""
    before = _listening.get()

    def both(done: int, total: int) -> None:
        if before is not None:
            before(done, total)
        listener(done, total)

    token = _listening.set(both)
    try:
        yield
    finally:
        _listening.reset(token)


def tell(done: int, total: int) -> None:
    """Tell who listens, if anybody does."""
    if listener := _listening.get():
        listener(done, total)
