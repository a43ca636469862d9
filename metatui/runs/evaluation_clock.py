"""Estimation of the remaining time of a validation or test."""

from __future__ import annotations

import time

from metatui.events import Evaluating
from metatui.runs.formatting import duration

MIN_SECONDS = 1.0
"""Minimum number of seconds between two events of an evaluation before the remaining time is estimated."""


class EvaluationClock:
    """Estimator of the remaining time of the current validation or test, from the times at which its events arrive."""

    def __init__(self) -> None:
        self._first: Evaluating | None = None
        """First event of the current evaluation that was passed to `update`."""
        self._last: Evaluating | None = None
        self._since = self._at = 0.0
        """Arrival times of the first and the last event, in seconds of the monotonic clock."""

    def update(self, event: Evaluating) -> None:
        last, now = self._last, time.monotonic()
        is_new = last is None or event.done == 0 or (last.iteration, last.split) != (event.iteration, event.split)
        if is_new:
            self._first, self._since = event, now
        self._last, self._at = event, now

    @property
    def left(self) -> float | None:
        """Estimated number of seconds until the evaluation ends; None if the speed is not known yet."""
        if self._first is None or self._last is None:
            return None
        done, took = self._last.done - self._first.done, self._at - self._since
        if done <= 0 or took < MIN_SECONDS:
            return None
        return took * (self._last.tasks - self._last.done) / done

    @property
    def left_text(self) -> str:
        """Remaining time as text to append to the number of finished tasks, such as `, 0:48 left`.

        If the speed is not known yet, this is an empty string.
        """
        return "" if self.left is None else f", {duration(self.left)} left"
