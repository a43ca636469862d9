"""Tests of `compute.second_order = "auto"`, which keeps the graphs of all inner steps if they fit into memory."""

from __future__ import annotations

import pytest

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.learning import experiment as module
from metatui.learning.experiment import set_up

IMAGES = change(
    Settings(),
    {
        "task.source": "glyphs", "task.ways": 3, "task.shots": 2, "task.queries": 2, "model.filters": 2,
        "algorithm.inner_steps": 4, "compute.device": "cpu", "compute.threads": 1,
    },
)  # fmt: skip


def choice(**changes: Scalar) -> Scalar:
    settings = change(IMAGES, {path.replace("__", "."): value for path, value in changes.items()})
    return set_up(settings).settings.compute.second_order


def test_graphs_are_kept_if_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choice() == "unrolled"
    monkeypatch.setattr(module, "GRAPH_MEMORY", 0)
    assert choice() == "auto"


def test_graphs_of_the_largest_tasks_must_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    share = module.GRAPH_MEMORY
    while choice() == "unrolled":
        share /= 2
        monkeypatch.setattr(module, "GRAPH_MEMORY", share)
    monkeypatch.setattr(module, "GRAPH_MEMORY", 2 * share)
    assert choice() == choice(task__ways_range="2-3", task__shots_range="1-2") == "unrolled"
    assert choice(task__shots_range="1-4") == choice(task__ways_range="2-6") == "auto"


def test_nothing_is_chosen_if_it_does_not_matter_or_is_set() -> None:
    assert choice(compute__second_order="recomputed") == "recomputed"
    assert choice(algorithm__name="fomaml") == "auto"
    assert choice(algorithm__adapt="head") == "auto"
    # A run with a set engine, such as a rerun of an older run, keeps its numbers.
    assert choice(compute__engine="loop") == "auto"
