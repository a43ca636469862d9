"""Tests of evaluation, explorer, parameter space, comparison, `meta_gradient` and `metatui check` on CUDA."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

import metatui
from metatui.learning.checks import algorithms, check, comparison
from metatui.learning.evaluation.custom_tasks import ChosenClasses, Wave
from metatui.runs.analysis.comparison import compare
from metatui.runs.analysis.evaluate import evaluate
from metatui.runs.analysis.explore import explore_stepwise
from metatui.runs.analysis.parameter_space import project_stepwise
from metatui.runs.storage.run_folder import RunFolder
from tests.cuda.device import simulator
from tests.cuda.training import SMALL_IMAGES, saved_run, short

Engine = Literal["batched", "unfolded", "loop", "higher"]
ENGINES: tuple[Engine, ...] = ("batched", "unfolded", "loop", "higher")


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    settings = short({"model.hidden": (8, 8)}, compute__precision="float64", compute__device="cuda:1")
    return saved_run(settings, tmp_path_factory.mktemp("waves"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    settings = short(SMALL_IMAGES, compute__precision="float64", compute__device="cuda:1")
    return saved_run(settings, tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("kind", ["waves", "images", "images per example"])
def test_evaluation_is_equal_on_each_device(kind: str, waves: RunFolder, images: RunFolder) -> None:
    run = waves if kind == "waves" else images
    batch_norm = "per_example" if kind == "images per example" else None
    simulator.reset()
    found = evaluate(run, tasks=3, steps=2, batch_norm=batch_norm)
    assert simulator.kernels.keys() == {"cuda:1"}
    for device in ("cuda:0", "cpu"):
        again = evaluate(run, tasks=3, steps=2, batch_norm=batch_norm, device=device)
        assert again.loss.mean == pytest.approx(found.loss.mean, rel=1e-9)


def test_explorer(waves: RunFolder, images: RunFolder) -> None:
    simulator.reset()
    for run, drawn in ((waves, None), (waves, Wave(1.0, 1.0)), (images, None), (images, ChosenClasses("1,2,3"))):
        assert list(explore_stepwise([run], task=1, steps=2, drawn=drawn))
    assert simulator.kernels.keys() == {"cuda:1"}


def test_parameter_space(waves: RunFolder) -> None:
    simulator.reset()
    assert list(project_stepwise(waves, tasks=2))
    assert simulator.kernels.keys() == {"cuda:1"}


def test_compare(waves: RunFolder) -> None:
    simulator.reset()
    assert compare(waves, tasks=3, steps=1)
    assert simulator.kernels.keys() == {"cuda:1"}


def test_gradients_of_the_library(images: RunFolder) -> None:
    def gradient(device: str, engine: Engine) -> torch.Tensor:
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU(), torch.nn.Flatten(),
            torch.nn.Linear(18, 3),
        ).to(device, torch.float64)  # fmt: skip
        x, y = torch.rand(2, 3, 1, 5, 5, dtype=torch.float64).to(device), torch.arange(3).repeat(2, 1).to(device)
        loss = torch.nn.functional.cross_entropy
        _, found = metatui.meta_gradient(model, loss, x, y, x, y, inner_lr=0.1, inner_steps=2, engine=engine)
        return torch.cat([g.flatten() for g in found.values()]).cpu()

    expected = gradient("cpu", "loop")
    for engine in ENGINES:
        torch.testing.assert_close(gradient("cuda:1", engine), expected, rtol=1e-8, atol=1e-12)


every = check.cases


def test_check(monkeypatch: pytest.MonkeyPatch) -> None:
    # One network and one direction: the whole command computes hundreds of thousands of small operations.
    monkeypatch.setattr(comparison, "DIRECTIONS", 1)
    monkeypatch.setattr(algorithms, "WORKS", {"waves": algorithms.WORKS["waves"]})
    monkeypatch.setattr(check, "cases", lambda device: every(device)[:1])
    monkeypatch.setattr(check, "full_size_cases", lambda device: [])
    simulator.reset()
    results = list(check.run_checks("cuda:1"))
    assert results
    assert [result.name for result in results if not result.ok] == []
    assert simulator.kernels.keys() == {"cuda:1"}
