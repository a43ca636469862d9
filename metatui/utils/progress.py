"""Progress of the preparation of a run: its stages, and the packing of images. The preparation may take minutes.

Code deep inside the preparation of a run or a comparison reports this progress, so the listeners are context variables
instead of arguments that are passed through every layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Reports(Generic[P]):
    """Reports of one kind. Each report is passed to all listeners registered in the current context."""

    def __init__(self, name: str) -> None:
        self._listeners: ContextVar[tuple[Callable[P, object], ...]] = ContextVar(name, default=())

    @contextmanager
    def listener(self, listener: Callable[P, object]) -> Iterator[None]:
        """Context manager that registers `listener`. Listeners that were registered earlier get each report first."""
        token = self._listeners.set((*self._listeners.get(), listener))
        try:
            yield
        finally:
            self._listeners.reset(token)

    def report(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Pass a report to all listeners registered in the current context."""
        for listener in self._listeners.get():
            listener(*args, **kwargs)


stages = Reports[[str]]("stages")
"""Current step in the preparation of a run, such as `loading the data`."""

packing = Reports[[int, int]]("packing")
"""Progress of decoding images: the number of images decoded so far, starting at 0, and the total number."""
