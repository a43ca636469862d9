"""Looking at one held-out task of one's choice, or at one that is drawn: how do so many inner steps at such a rate do?

Nothing here is written, and nothing is learned from what is seen: θ stays what it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from metatui.config.fields import change
from metatui.events import TaskView
from metatui.learning.data.episodes import Split, TaskSource
from metatui.learning.data.image_source import ImageSource
from metatui.learning.data.sinusoid import SinusoidSource
from metatui.learning.evaluation.custom_tasks import ChosenClasses, Drawn, Wave
from metatui.learning.evaluation.task_views import task_views
from metatui.learning.optim.inner import Params
from metatui.learning.training.experiment import Experiment
from metatui.utils.errors import BadInput, quote

SPLIT: Split = "test"
"""Tasks are held out: never trained on, and no checkpoint was chosen by them."""

MOST_LISTED = 2000
"""Classes of a source up to which they can be asked for by name; made-up ones are without end."""

LARGEST_TASK = 2**31 - 1

_NUMBER: Final = re.compile(r"[ /]\w*\d+$")
"""Of a character in its alphabet, at the end of its name."""


def explore(
    experiment: Experiment, theta: Params, *, task: int, drawn: Drawn | None, steps: int, inner_lr: float
) -> TaskView:
    """The held-out task numbered `task`, or the one drawn, at inner steps 0 to `steps`.

    Args:
        drawn: takes the place of the task; `task` still says which points or images of it are given.
        inner_lr: of the inner loop, which may be another than in training.

    Raises:
        BadInput: a value that cannot be, or drawn for other data than the experiment's.
    """
    if not 0 <= task <= LARGEST_TASK:
        raise BadInput(f"task is {task}, but must be from 0 to {LARGEST_TASK}")
    settings = change(experiment.settings, {"algorithm.inner_lr": inner_lr, "evaluation.inner_steps": steps})
    source = experiment.source if drawn is None else drawn_source(experiment.source, drawn, settings.task.ways)
    (view,) = task_views(
        replace(experiment, settings=settings, source=source), theta,
        split=SPLIT, tasks=[task], steps=steps, shots=settings.evaluation_shots,
    )  # fmt: skip
    return view


def drawn_source(source: TaskSource, drawn: Drawn, ways: int) -> TaskSource:
    """A source of which every task is the one drawn. Raises BadInput."""
    if isinstance(drawn, Wave) and isinstance(source, SinusoidSource):
        return _WaveSource(drawn)
    if isinstance(drawn, ChosenClasses) and isinstance(source, ImageSource):
        return _ClassesSource(source, classes_of(source, drawn.text, ways))
    raise BadInput("waves can be drawn for sinusoid runs alone, and classes chosen for image runs alone")


def classes_of(source: ImageSource, text: str, ways: int) -> tuple[int, ...]:
    """The numbers of `ways` held-out classes that `text` asks for: numbers, names or beginnings of names, in order.

    A beginning that several names have, such as an alphabet's, stands for as many of them as are still wanted, upright
    ones first; several such beginnings share what is wanted.

    Raises:
        BadInput: no such class, one twice, or not enough of them.
    """
    words = [_meant(source, word) for word in filter(None, map(str.strip, text.split(",")))]
    alone = [numbers[0] for numbers in words if len(numbers) == 1]
    several = [[n for n in numbers if n not in alone] for numbers in words if len(numbers) > 1]
    shares = _shared([len(numbers) for numbers in several], ways - len(alone))
    if len(set(alone)) < len(alone):
        raise BadInput(f"classes are {quote(text)}, but each must be another")
    found: list[int] = []
    left = iter(zip(several, shares, strict=True))
    for numbers in words:
        if len(numbers) == 1:
            found += numbers
        else:
            among, share = next(left)
            found += [n for n in among if n not in found][:share]
    if len(found) != ways or 0 in shares:
        made = max(len(found), len(words))
        raise BadInput(f"classes are {quote(text)}, which makes {made}, but the run tells {ways} apart")
    return tuple(found)


def _meant(source: ImageSource, word: str) -> list[int]:
    """The classes that `word` names or begins the names of."""
    count = source.class_count(SPLIT)
    if word.isascii() and word.isdigit():
        if int(word) >= count:
            raise BadInput(f"class is {word}, but must be from 0 to {count - 1}, the classes of the {SPLIT} split")
        return [int(word)]
    if count > MOST_LISTED:
        raise BadInput(f"class is {quote(word)}, but must be a number from 0 to {count - 1}: there are too many names")
    names = [source.class_name(SPLIT, number) for number in range(count)]
    lower = [name.lower() for name in names]
    if word.lower() in lower:
        return [lower.index(word.lower())]
    if found := [number for number, name in enumerate(lower) if name.startswith(word.lower())]:
        return sorted(found, key=lambda number: number % source.turns)
    groups = dict.fromkeys(_NUMBER.sub("", name) for name in names[:: source.turns])
    raise BadInput(f"class is {quote(word)}, but must be a number or begin as one of {quote(', '.join(groups), 600)}")


def _shared(sizes: Sequence[int], wanted: int) -> list[int]:
    """`wanted` things dealt out by turns to groups that have so many each; fewer where there are no more."""
    shares = [0] * len(sizes)
    for _ in range(max(0, min(wanted, sum(sizes)))):
        least = min(share for share, size in zip(shares, sizes, strict=True) if share < size)
        shares[next(i for i, size in enumerate(sizes) if shares[i] == least and least < size)] += 1
    return shares


class _WaveSource(SinusoidSource):
    """Every task is one wave; its points are those of the task with the same number."""

    def __init__(self, wave: Wave) -> None:
        self._wave = wave

    def wave(self, split: Split, tasks: Sequence[int], *, seed: int) -> tuple[Tensor, Tensor]:
        def repeated(value: float) -> Tensor:
            return torch.full((len(tasks), 1), value, dtype=torch.float64)

        return repeated(self._wave.amplitude), repeated(self._wave.phase)


class _ClassesSource(ImageSource):
    """Every task has the same classes, and drawings by its number."""

    name = "drawn"

    def __init__(self, source: ImageSource, numbers: Sequence[int]) -> None:
        super().__init__(source.device)
        self.input_shape, self.fingerprint, self.notices = source.input_shape, source.fingerprint, source.notices
        self._source, self._numbers = source, numbers

    def classes(self, split: Split, tasks: Sequence[int], *, seed: int, ways: int) -> Tensor:
        return torch.tensor([list(self._numbers)] * len(tasks), dtype=torch.int64)

    def class_count(self, split: Split) -> int:
        return self._source.class_count(split)

    def class_name(self, split: Split, number: int) -> str:
        return self._source.class_name(split, number)

    def check_drawings(self, split: Split, shots: int, queries: int) -> None:
        self._source.check_drawings(split, shots, queries)

    def draw(self, split: Split, classes: Tensor, keys: Tensor, count: int) -> Tensor:
        return self._source.draw(split, classes, keys, count)

    @property
    def pooled_classes(self) -> int:
        return self._source.pooled_classes
