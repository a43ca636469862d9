"""Adaptation to one chosen task: a held-out task, a wave that the user draws, or classes that the user picks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from metatui.config.fields import change
from metatui.events import TaskView
from metatui.learning.algorithm import RATE
from metatui.learning.data.episodes import Split, TaskSource
from metatui.learning.data.image_source import ImageSource
from metatui.learning.data.sinusoid import SinusoidSource
from metatui.learning.evaluation.custom_tasks import ChosenClasses, CustomTask, Wave
from metatui.learning.evaluation.task_views import task_views
from metatui.learning.experiment import Experiment
from metatui.learning.optim.inner import Params
from metatui.utils.errors import BadInput, quote

SPLIT: Split = "test"
"""The split from which classes are chosen. It is used neither for training nor for the selection of a checkpoint."""

MAX_NAMES = 2000
"""Maximum number of classes in a split whose class names can be searched. Data sets of generated characters have more
classes."""

MAX_TASK = 2**31 - 1

QUERIES_PER_CLASS = 10
"""Maximum number of query images per class in a view."""

_CHARACTER_NUMBER: Final = re.compile(r"[ /]\w*\d+$")
"""Regular expression for the number of a character in its alphabet, at the end of a class name."""


def explore(
    experiment: Experiment,
    theta: Params,
    *,
    task: int,
    drawn: CustomTask | None,
    steps: int,
    inner_lr: float,
    split: Split = "test",
) -> TaskView:
    """Adapt a copy of `theta` to one task, and return a view of inner steps 0 to `steps`.

    Args:
        task: index of the held-out task.
        drawn: a custom task to use instead. `task` then only determines which points or images are sampled.
        inner_lr: inner learning rate; it may differ from the one used in training. Learned rates are scaled in
            proportion, because the setting is only their initial value.
        split: split of the task; chosen classes are always those of the test split.

    Raises:
        BadInput: if a value is out of range, or `drawn` does not fit the data of the experiment.
    """
    if not 0 <= task <= MAX_TASK:
        raise BadInput(f"task is {task}, but must be from 0 to {MAX_TASK}")
    factor = inner_lr / experiment.settings.algorithm.inner_lr
    theta = {name: factor * p if name.startswith(RATE) else p for name, p in theta.items()}
    settings = change(experiment.settings, {"algorithm.inner_lr": inner_lr, "evaluation.inner_steps": steps})
    source = experiment.source if drawn is None else custom_source(experiment.source, drawn, settings.task.ways)
    (view,) = task_views(
        replace(experiment, settings=settings, source=source),
        theta,
        split=SPLIT if isinstance(drawn, ChosenClasses) else split,
        tasks=[task],
        steps=steps,
        shots=settings.evaluation_shots,
        queries=QUERIES_PER_CLASS,
    )
    return view


def custom_source(source: TaskSource, drawn: CustomTask, ways: int) -> TaskSource:
    """Create a source that contains only the custom task `drawn`. Raises BadInput if the task does not fit `source`."""
    if isinstance(drawn, Wave) and isinstance(source, SinusoidSource):
        return _WaveSource(drawn)
    if isinstance(drawn, ChosenClasses) and isinstance(source, ImageSource):
        return _ClassesSource(source, parse_classes(source, drawn.text, ways))
    raise BadInput("waves can only be drawn for sinusoid runs, and classes can only be chosen for image runs")


def parse_classes(source: ImageSource, text: str, ways: int) -> tuple[int, ...]:
    """Find the held-out classes that `text` selects.

    Args:
        text: numbers, names or prefixes of names, separated by commas. A prefix of several names, such as the name of
            an alphabet, selects as many of these classes as are needed to have `ways` in total, unrotated ones first.
            If there are several such prefixes, each selects an equal share of the classes that are needed.

    Returns:
        The indices of the selected classes (`ways` in total), in the order of `text`.

    Raises:
        BadInput: if a class does not exist or occurs twice, or the number of classes is not `ways`.
    """
    words = [_matching_classes(source, word) for word in filter(None, map(str.strip, text.split(",")))]
    single = [numbers[0] for numbers in words if len(numbers) == 1]
    groups = [[n for n in numbers if n not in single] for numbers in words if len(numbers) > 1]
    shares = _share([len(group) for group in groups], ways - len(single))
    if len(set(single)) < len(single):
        raise BadInput(f"classes are {quote(text)}, but must be distinct")
    chosen: list[int] = []
    remaining = iter(zip(groups, shares, strict=True))
    for numbers in words:
        if len(numbers) == 1:
            chosen += numbers
        else:
            group, share = next(remaining)
            chosen += [n for n in group if n not in chosen][:share]
    if len(chosen) != ways or 0 in shares:
        count = max(len(chosen), len(words))
        raise BadInput(f"classes are {quote(text)}, {count} in total, but the run has {ways} ways")
    return tuple(chosen)


def _matching_classes(source: ImageSource, word: str) -> list[int]:
    """Return the class whose name or number is `word`, or the classes whose names begin with `word`."""
    count = source.class_count(SPLIT)
    names = [source.class_name(SPLIT, number) for number in range(count)] if count <= MAX_NAMES else []
    if word in names:  # names may be numbers, or differ only in case
        return [names.index(word)]
    if word.isascii() and word.isdigit():
        if len(word) > 20 or int(word) >= count:  # int() accepts at most 4,300 digits
            number = quote(word)[1:-1]
            raise BadInput(f"class is {number}, but must be one of the classes 0 to {count - 1} of the {SPLIT} split")
        return [int(word)]
    if not names:
        raise BadInput(
            f"class is {quote(word)}, but must be a number from 0 to {count - 1}: there are too many classes to "
            "search for a name"
        )
    lower = [name.lower() for name in names]
    if word.lower() in lower:
        return [lower.index(word.lower())]
    if matches := [number for number, name in enumerate(lower) if name.startswith(word.lower())]:
        return sorted(matches, key=lambda number: number % source.turns)
    alphabets = dict.fromkeys(_CHARACTER_NUMBER.sub("", name) for name in names[:: source.turns])
    allowed = quote(", ".join(alphabets), 600)
    raise BadInput(f"class is {quote(word)}, but must be a number or begin with one of {allowed}")


def _share(sizes: Sequence[int], wanted: int) -> list[int]:
    """Divide `wanted` items among groups as equally as the group sizes allow; earlier groups get the remainder."""
    shares = [0] * len(sizes)
    for _ in range(max(0, min(wanted, sum(sizes)))):
        open_groups = [i for i, size in enumerate(sizes) if shares[i] < size]
        shares[min(open_groups, key=lambda i: shares[i])] += 1
    return shares


class _WaveSource(SinusoidSource):
    """A source whose tasks all use the same wave. The x values are those of the held-out task with the same index."""

    def __init__(self, wave: Wave) -> None:
        self._wave = wave

    def wave(self, split: Split, tasks: Sequence[int], *, seed: int) -> tuple[Tensor, Tensor]:
        def repeat(value: float) -> Tensor:
            return torch.full((len(tasks), 1), value, dtype=torch.float64)

        return repeat(self._wave.amplitude), repeat(self._wave.phase)


class _ClassesSource(ImageSource):
    """A source whose tasks all use the same classes. The task number determines the images."""

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
