"""Averages of the training metrics, exact even if this process did not receive every meta-step."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from copy import copy
from pathlib import Path

from metatui.events import Progress
from metatui.runs.storage.metrics import MetricsReader
from metatui.tui.controllers.history import Averages, Step
from metatui.utils.smoothing import DECAYS, ExponentialAverage


class Smoother:
    """Adds to each meta-step of a run the averages of meta-loss and accuracy over all meta-steps up to it.

    Meta-steps can be missing from the input: a live run sends none from before the connection, and drops some if the
    receiver is too slow. Missing ones are read from the run's metrics file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start()

    def _start(self) -> None:
        self._reader = MetricsReader(self._path)
        self._ahead: deque[Progress] = deque()
        """Meta-steps read from the file, but not averaged yet."""
        self._forget()

    def _forget(self) -> None:
        self._iteration = 0
        self._meta_loss = tuple(ExponentialAverage(decay) for decay in DECAYS)
        self._accuracy = tuple(ExponentialAverage(decay) for decay in DECAYS)

    def copy(self) -> Smoother:
        """Return an independent copy."""
        other = copy(self)
        other._reader, other._ahead = copy(self._reader), self._ahead.copy()
        other._meta_loss = tuple(map(copy, self._meta_loss))
        other._accuracy = tuple(map(copy, self._accuracy))
        return other

    def step(self, progress: Progress) -> Step:
        """Return a meta-step with its averages, or without them if earlier meta-steps are not in the file yet."""
        if progress.iteration <= self._iteration:  # the run went back to a checkpoint
            self._start()
        if progress.iteration != self._iteration + 1 and not self._catch_up(progress.iteration):
            return Step(progress)
        return self._average([progress])[0]

    def read(self) -> tuple[list[Step], bool]:
        """Read up to about a megabyte of new meta-steps from the file.

        Returns:
            The meta-steps, and whether the file was replaced. If it was, they are from its start, and those read before
            are no longer valid.
        """
        new = self._reader.read_new()
        if self._reader.restarted:
            self._forget()
        return self._average(new), self._reader.restarted

    def _catch_up(self, before: int) -> bool:
        """Average the meta-steps in the file before meta-step `before`. Returns whether none is missing."""
        while True:
            skipped = []
            while self._ahead and self._ahead[0].iteration < before:
                progress = self._ahead.popleft()
                if progress.iteration > self._iteration:
                    skipped.append(progress)
            self._average(skipped)
            if self._ahead or self._iteration == before - 1:
                return True
            new = self._reader.read_new()
            if self._reader.restarted:
                self._forget()
            if not new:
                return not self._path.exists()  # without a file there is nothing to wait for
            self._ahead.extend(new)

    def _average(self, steps: Sequence[Progress]) -> list[Step]:
        if not steps:
            return []
        self._iteration = steps[-1].iteration
        losses = _averages(self._meta_loss, [step.meta_loss for step in steps])
        if steps[-1].accuracy is None:
            return list(map(Step, steps, losses))
        accuracies = _averages(self._accuracy, [float("nan" if s.accuracy is None else s.accuracy) for s in steps])
        return list(map(Step, steps, losses, accuracies))


def _averages(kinds: Sequence[ExponentialAverage], values: Sequence[float]) -> list[Averages]:
    return list(zip(*(kind.extend(values) for kind in kinds), strict=True))
