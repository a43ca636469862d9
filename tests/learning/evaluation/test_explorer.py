"""Tests of the adaptation explorer: held-out tasks, custom waves and chosen classes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from metatui.config.fields import change
from metatui.events import ImageView, RegressionView
from metatui.learning.data.image_source import SIDE, ImageSource
from metatui.learning.evaluation.custom_tasks import ChosenClasses, Wave
from metatui.learning.evaluation.explorer import explore, parse_classes
from metatui.learning.evaluation.task_views import task_views
from metatui.learning.experiment import Experiment, set_up
from metatui.utils.errors import BadInput
from tests.runs.analysis.comparisons import GLYPHS, SINUSOID

NAMES = ("Greek/character01", "Greek/character02", "Greek/character03", "Latin/character01", "Latin/character02")


class NamedClasses(ImageSource):
    """An image source of five named classes, each with a different grey level."""

    name = "named"
    pooled_classes = 1

    def class_count(self, split: str) -> int:
        return len(NAMES)

    def class_name(self, split: str, number: int) -> str:
        return NAMES[number]

    def check_drawings(self, split: str, shots: int, queries: int) -> None: ...

    def draw(self, split: str, classes: torch.Tensor, keys: torch.Tensor, count: int) -> torch.Tensor:
        grey = (classes + 1).view(-1, 1, 1, 1) / len(NAMES)
        return grey.expand(-1, count, SIDE, SIDE).to(torch.float32)


@pytest.fixture
def waves() -> Experiment:
    return set_up(SINUSOID)


@pytest.fixture
def images() -> Experiment:
    return set_up(change(GLYPHS, {"task.ways": 3}))


def test_task_is_the_held_out_task(waves: Experiment) -> None:
    theta = waves.theta()
    view = explore(waves, theta, task=7, drawn=None, steps=4, inner_lr=0.01)
    assert view == task_views(waves, theta, split="test", tasks=[7], steps=4, shots=10)[0]


def test_all_query_images_are_shown_up_to_ten_of_a_class(images: Experiment) -> None:
    for queries, shown in ((5, 5), (12, 10)):
        experiment = replace(images, settings=change(images.settings, {"task.queries": queries}))
        view = explore(experiment, experiment.theta(), task=0, drawn=None, steps=1, inner_lr=0.01)
        assert isinstance(view, ImageView)
        assert view.query_labels == tuple(label for label in range(3) for _ in range(shown))
        assert [len(at) for at in view.predictions] == [3 * shown] * 2


def test_fewer_steps_are_a_prefix(waves: Experiment) -> None:
    few, many = (explore(waves, waves.theta(), task=3, drawn=None, steps=n, inner_lr=0.01) for n in (2, 50))
    assert len(many.predictions) == 51
    assert many.predictions[:3] == few.predictions


def test_inner_lr_is_used(waves: Experiment) -> None:
    theta = waves.theta()
    slow, fast = (explore(waves, theta, task=0, drawn=None, steps=1, inner_lr=rate) for rate in (0.001, 0.002))
    assert slow.predictions[0] == fast.predictions[0]
    assert slow.predictions[1] != fast.predictions[1]


def test_exploring_changes_nothing(waves: Experiment) -> None:
    theta = waves.theta()
    before = {name: p.clone() for name, p in theta.items()}
    explore(waves, theta, task=0, drawn=Wave(1.0, 0.5), steps=5, inner_lr=0.1)
    assert all(torch.equal(p, before[name]) for name, p in theta.items())
    assert waves.settings.algorithm.inner_lr == SINUSOID.algorithm.inner_lr


def test_custom_wave_is_used(waves: Experiment) -> None:
    view = explore(waves, waves.theta(), task=4, drawn=Wave(2.5, 1.25), steps=1, inner_lr=0.01)
    assert isinstance(view, RegressionView)
    assert view.title == "A = 2.50, φ = 1.25"
    assert view.truth == pytest.approx([2.5 * math.sin(x - 1.25) for x in view.grid])
    assert view.support_y == pytest.approx([2.5 * math.sin(x - 1.25) for x in view.support_x], abs=1e-5)
    held_out = explore(waves, waves.theta(), task=4, drawn=None, steps=1, inner_lr=0.01)
    assert isinstance(held_out, RegressionView)
    assert view.support_x == held_out.support_x, "a custom wave keeps the x values of the task"


@pytest.mark.parametrize(("amplitude", "phase"), [(0, 0), (-1, 0), (11, 0), (math.nan, 0), (1, 7), (1, math.nan)])
def test_wave_out_of_range_is_refused(amplitude: float, phase: float) -> None:
    with pytest.raises(BadInput, match="but must be"):
        Wave(amplitude, phase)


def test_wave_in_training_range() -> None:
    assert Wave(5.0, 3.0).trained_on
    assert not Wave(5.1, 3.0).trained_on
    assert not Wave(1.0, -0.1).trained_on


def test_chosen_classes_are_used(images: Experiment) -> None:
    chosen = replace(images, source=NamedClasses("cpu"))
    view = explore(
        chosen, chosen.theta(), task=0, drawn=ChosenClasses("4, Greek/character02, 0"), steps=1, inner_lr=0.1
    )
    assert isinstance(view, ImageView)
    assert view.title == "Latin/character02, Greek/character02, Greek/character01"
    assert [image[0] for image in view.support] == [255, 102, 51]
    assert view.support_labels == (0, 1, 2)


@pytest.mark.parametrize(
    ("text", "ways", "numbers"),
    [
        ("0,1,2", 3, (0, 1, 2)),
        ("greek", 3, (0, 1, 2)),
        ("greek", 2, (0, 1)),
        ("latin, greek", 4, (3, 4, 0, 1)),
        ("1, greek", 3, (1, 0, 2)),
        ("latin, greek", 3, (3, 4, 0)),
        ("greek, latin", 5, (0, 1, 2, 3, 4)),
        ("l, g", 2, (3, 0)),
    ],
)
def test_classes_by_number_and_alphabet(text: str, ways: int, numbers: tuple[int, ...]) -> None:
    assert parse_classes(NamedClasses("cpu"), text, ways) == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", "class is 5, but must be one of the classes 0 to 4"),
        pytest.param("9" * 5000, "^class is 9+…, but must be one of the classes 0 to 4", id="huge"),
        ("Runes", "must be a number or begin with one of 'Greek, Latin'"),
        ("1,1,2", "must be distinct"),
        ("latin", "2 in total, but the run has 3 ways"),
        ("0,1,2,3", "4 in total, but the run has 3 ways"),
        ("", "0 in total, but the run has 3 ways"),
        ("0, 1, 2, latin", "4 in total, but the run has 3 ways"),
        ("latin, l", "2 in total, but the run has 3 ways"),
    ],
)
def test_invalid_classes_are_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse_classes(NamedClasses("cpu"), text, 3)


@pytest.mark.parametrize(("text", "numbers"), [("A, a, b", (0, 2, 3)), ("a, A, B", (2, 0, 3)), ("7, a, 4", (1, 2, 4))])
def test_names_precede_numbers_and_other_cases(text: str, numbers: tuple[int, ...]) -> None:
    class Letters(NamedClasses):
        def class_name(self, split: str, number: int) -> str:
            return ("A", "7", "a", "b", "c")[number]

    assert parse_classes(Letters("cpu"), text, 3) == numbers


def test_unrotated_characters_come_first() -> None:
    class Turned(NamedClasses):
        turns = 2

        def class_name(self, split: str, number: int) -> str:
            return f"Latin {number // 2 + 1}{' ↻90' * (number % 2)}"

    assert parse_classes(Turned("cpu"), "latin", 4) == (0, 2, 4, 1)
    with pytest.raises(BadInput, match=r"begin with one of 'Latin'$"):
        parse_classes(Turned("cpu"), "Klingon", 4)


def test_unlimited_names_are_refused(images: Experiment) -> None:
    assert isinstance(images.source, ImageSource)
    with pytest.raises(BadInput, match="too many classes to search for a name"):
        parse_classes(images.source, "babab-babab", 3)


def test_custom_task_must_fit_the_data(waves: Experiment, images: Experiment) -> None:
    for experiment, drawn in ((waves, ChosenClasses("1,2,3")), (images, Wave(1.0, 0.0))):
        with pytest.raises(BadInput, match="only be drawn for sinusoid runs"):
            explore(experiment, experiment.theta(), task=0, drawn=drawn, steps=1, inner_lr=0.1)


@pytest.mark.parametrize("task", [-1, 2**31])
def test_task_number_out_of_range_is_refused(waves: Experiment, task: int) -> None:
    with pytest.raises(BadInput, match="task is"):
        explore(waves, waves.theta(), task=task, drawn=None, steps=1, inner_lr=0.1)
