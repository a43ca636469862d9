"""Looking at one held-out task of one's choice, or at one that is drawn: how do so many inner steps at such a rate do?

Nothing here is written, and nothing is learned from what is seen: θ stays what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from metatui.errors import BadInput, shown
from metatui.knobs import change
from metatui.learning.episodes import Split, TaskSource
from metatui.learning.events import TaskView
from metatui.learning.experiment import Experiment
from metatui.learning.explorer_tasks import Classes, Drawn, Wave
from metatui.learning.inner import Params
from metatui.learning.tasks.images import ImageSource
from metatui.learning.tasks.sinusoid import SinusoidSource
from metatui.learning.views import task_views

SPLIT: Split = "test"
"""Tasks are held out: never trained on, and no checkpoint was chosen by them."""

MOST_LISTED = 2000
"""Classes of a source up to which they can be asked for by name; made-up ones are without end."""

LARGEST_TASK = 2**31 - 1


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
    if isinstance(drawn, Classes) and isinstance(source, ImageSource):
        return _ClassesSource(source, classes_of(source, drawn.text, ways))
    raise BadInput("waves can be drawn for sinusoid runs alone, and classes chosen for image runs alone")


def classes_of(source: ImageSource, text: str, ways: int) -> tuple[int, ...]:
    """The numbers of `ways` held-out classes that `text` asks for: numbers, names or beginnings of names, in order.

    A beginning that several names have, such as an alphabet's, stands for as many of them as are still wanted.

    Raises:
        BadInput: no such class, one twice, or not enough of them.
    """
    count = source.class_count(SPLIT)
    found: list[int] = []
    for word in filter(None, map(str.strip, text.split(","))):
        if word.isascii() and word.isdigit():
            if int(word) >= count:
                raise BadInput(f"class is {word}, but must be from 0 to {count - 1}, the classes of the {SPLIT} split")
            numbers = [int(word)]
        else:
            numbers = _called(source, word, count)
        # A name alone is one class; the beginning of several stands for those that are not there yet.
        found += numbers if len(numbers) == 1 else [n for n in numbers if n not in found][: max(0, ways - len(found))]
    if len(set(found)) < len(found):
        raise BadInput(f"classes are {shown(text)}, but each must be another")
    if len(found) != ways:
        raise BadInput(f"classes are {shown(text)}, which makes {len(found)}, but the run tells {ways} apart")
    return tuple(found)


def _called(source: ImageSource, word: str, count: int) -> list[int]:
    if count > MOST_LISTED:
        raise BadInput(f"class is {shown(word)}, but must be a number from 0 to {count - 1}: there are too many names")
    names = [source.class_name(SPLIT, number).lower() for number in range(count)]
    if word.lower() in names:
        return [names.index(word.lower())]
    if found := [number for number, name in enumerate(names) if name.startswith(word.lower())]:
        return found
    groups = dict.fromkeys(source.class_name(SPLIT, number).split("/")[0] for number in range(count))
    raise BadInput(f"class is {shown(word)}, but must be a number or begin as one of {shown(', '.join(groups), 300)}")


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
