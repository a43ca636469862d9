"""Moving averages of the training metrics over all meta-steps, including those that the run did not send to the app."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path

from metatui.events import Progress
from metatui.runs.storage.metrics import MetricsReader
from metatui.tui.model.history import Averages, Step
from metatui.utils.smoothing import DECAYS, ExponentialAverage


class Smoother:
    """Adds the moving averages of meta-loss and accuracy to each meta-step of a run.

    A run does not send the meta-steps from before the app connected to it, and it skips some if the app receives them
    too slowly. These meta-steps are read from the run's metrics file, so every meta-step is returned.
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

    def follow(self, progress: Progress) -> Iterator[Step]:
        """Yield the meta-steps that were skipped before `progress`, then `progress`, each with its averages.

        If the skipped meta-steps are not in the file yet, `progress` is yielded without averages.
        """
        if progress.iteration <= self._iteration:  # the run went back to a checkpoint
            self._start()
        while self._iteration + 1 < progress.iteration:
            if not self._ahead and not self._read_ahead():
                if self._path.exists():
                    yield Step(progress)
                    return
                break  # without a file, the skipped meta-steps cannot be read
            skipped = []
            while self._ahead and self._ahead[0].iteration < progress.iteration:
                step = self._ahead.popleft()
                if step.iteration > self._iteration:
                    skipped.append(step)
            yield from self._average(skipped)
            if self._ahead:
                break
        yield from self._average([progress])

    def read(self) -> tuple[list[Step], bool]:
        """Read new meta-steps from about a megabyte of the file. Damaged parts of the file do not count.

        Returns:
            The meta-steps, and whether the file was replaced. After a replacement, the meta-steps begin at the start of
            the new file, and meta-steps read earlier are no longer valid.
        """
        new = self._reader.read_new()
        if self._reader.restarted:
            self._forget()
        return self._average(new), self._reader.restarted

    def _read_ahead(self) -> bool:
        """Read more meta-steps from the file, and return whether there were any."""
        new = self._reader.read_new()
        if self._reader.restarted:
            self._forget()
        self._ahead.extend(new)
        return bool(new)

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
