"""Events on their way from the training thread to the app: bounded, and nobody waits for anybody."""

from __future__ import annotations

import threading

from metatui.events import Event
from metatui.tui.controllers.history import Step

Drained = Event | Step
"""Every event except Progress, which is replaced by a `Step`."""

MOST_PROGRESS = 4096
"""Meta-steps kept between two drains. A frozen terminal makes them fewer, never the training slower."""

MOST_OTHERS = 512
"""Other events kept between two drains; the oldest give way."""


class Mailbox:
    """Events in the order in which they were put, until they are drained."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: list[Drained] = []
        self._progress = 0

    def put(self, event: Drained) -> None:
        """Leave `event`. Called by the training thread; never blocks for longer than a drain takes a list."""
        with self._lock:
            self._events.append(event)
            self._progress += isinstance(event, Step)
            if self._progress > MOST_PROGRESS or len(self._events) - self._progress > MOST_OTHERS:
                self._thin()

    def drain(self) -> list[Drained]:
        """Everything that has arrived since the last drain."""
        with self._lock:
            events, self._events, self._progress = self._events, [], 0
        return events

    def _thin(self) -> None:
        """Keep every second meta-step, the last one always, and the newest of the other events."""
        progress = [event for event in self._events if isinstance(event, Step)]
        others = [event for event in self._events if not isinstance(event, Step)]
        kept = {id(event) for event in progress[::-2]} if self._progress > MOST_PROGRESS else set(map(id, progress))
        kept |= (
            {id(event) for event in others[-MOST_OTHERS // 2 :]} if len(others) > MOST_OTHERS else set(map(id, others))
        )
        self._events = [event for event in self._events if id(event) in kept]
        self._progress = sum(isinstance(event, Step) for event in self._events)
