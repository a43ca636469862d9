"""Tests of whole runs on CUDA: task sources, algorithms, engines, devices, resuming, and waits for the device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import torch

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.events import Progress, Stop
from metatui.learning.data.omniglot import source
from metatui.learning.data.omniglot.manifest import characters
from metatui.learning.data.omniglot.splits import DRAWINGS
from metatui.learning.engines import autotune
from metatui.learning.experiment import set_up
from metatui.learning.training import trainer
from metatui.learning.training.trainer import Trainer
from metatui.runs.execution.session import Session
from metatui.utils import paths
from metatui.utils.errors import BadInput
from tests.cuda.device import simulator
from tests.cuda.training import (
    SMALL_IMAGES,
    final_losses,
    losses,
    notes,
    of_preset,
    saved_run,
    short,
    train,
    train_steps,
)
from tests.folder_files import names, write_classes

MILLISECONDS = autotune._milliseconds
"""The original function that times an engine. A fixture in tests/conftest.py replaces this function in tests."""


@pytest.fixture(scope="module", autouse=True)
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Replace the images of Omniglot with noise, and the cache of image folders with an empty folder.

    Also record only one held-out task for display after a validation or test.
    """
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (len(characters()), DRAWINGS, 28, 28), dtype=torch.uint8)
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "load", lambda: (pixels, "0"))
        patch.setattr(trainer, "VIEWS", 1)
        patch.setattr(paths, "packed_folders_dir", lambda: cache)
        yield


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Scalar]]:
    root = write_classes(tmp_path_factory.mktemp("images") / "root", names(20))
    return {
        "sinusoid": {"task.shots": 5},
        "glyphs": SMALL_IMAGES,
        "omniglot": {**SMALL_IMAGES, "task.source": "omniglot"},
        "folder": {**SMALL_IMAGES, "task.source": "folder", "task.folder": str(root), "task.image_size": 16},
    }


@pytest.mark.parametrize(
    ("source", "algorithm", "engine"),
    [
        ("sinusoid", "scratch", "batched"),
        *product(("glyphs",), ("maml",), ("batched", "loop", "unfolded", "higher")),
        ("omniglot", "pretrained", "loop"),
        ("folder", "fomaml", "loop"),
    ],
)
def test_runs_match_cpu(source: str, algorithm: str, engine: str, sources: dict[str, dict[str, Scalar]]) -> None:
    settings = short(sources[source], algorithm__name=algorithm, compute__engine=engine, compute__precision="float64")
    simulator.reset()
    events = train(settings)
    assert simulator.kernels.keys() == {"cuda:0"}
    expected = train(change(settings, {"compute.device": "cpu"}))
    assert losses(events) == pytest.approx(losses(expected), rel=1e-7)
    assert final_losses(events) == pytest.approx(final_losses(expected), rel=1e-6)


@pytest.mark.parametrize(
    ("source", "algorithm", "engine"),
    [
        ("sinusoid", "fomaml", "batched"),
        ("sinusoid", "pretrained", "batched"),
        ("glyphs", "reptile", "batched"),
        ("omniglot", "maml", "batched"),
        ("folder", "reptile", "unfolded"),
        ("sinusoid", "reptile", "higher"),
    ],
)
def test_meta_steps_match_cpu(source: str, algorithm: str, engine: str, sources: dict[str, dict[str, Scalar]]) -> None:
    settings = short(sources[source], algorithm__name=algorithm, compute__engine=engine, compute__precision="float64")
    simulator.reset()
    found = train_steps(settings)
    assert len(found) == settings.training.iterations
    assert simulator.kernels.keys() == {"cuda:0"}
    assert found == pytest.approx(train_steps(change(settings, {"compute.device": "cpu"})), rel=1e-7)


@pytest.mark.parametrize(
    ("preset", "engine", "graphs"),
    [
        ("sinusoid-finn", "batched", True),
        ("glyphs", "batched", True),
        ("omniglot-5way-1shot-fomaml", "loop", True),
        ("omniglot-20way-1shot-finn", "unfolded", False),
        ("omniglot-20way-5shot-nichol", "batched", False),
    ],
)
def test_networks_of_presets(preset: str, engine: str, graphs: bool) -> None:
    settings = of_preset(preset, compute__engine=engine, compute__cuda_graphs=graphs)
    if engine == "loop":  # large enough for the fused first block that this engine has on a CPU
        settings = change(settings, {"task.queries": 15})
    found = train_steps(settings)
    assert len(found) == 1
    assert found == pytest.approx(train_steps(change(settings, {"compute.device": "cpu"})), rel=1e-4)


def test_evaluation_of_a_preset() -> None:
    settings = of_preset("glyphs", algorithm__name="scratch")
    events = train(settings)
    expected = train(change(settings, {"compute.device": "cpu"}))
    assert final_losses(events) == pytest.approx(final_losses(expected), rel=1e-4)


@pytest.mark.parametrize("engine", ["native", "compiled"])
def test_engines_for_the_cpu_are_refused(engine: str) -> None:
    with pytest.raises(BadInput, match=f"compute.engine is '{engine}', but must be another engine on cuda:0"):
        Trainer(short(compute__engine=engine))


def test_missing_cuda_device_is_refused() -> None:
    with pytest.raises(BadInput, match=r"compute.device is 'cuda:2', but the available devices are cuda:0"):
        Trainer(short(compute__device="cuda:2"))


@pytest.mark.parametrize("graphs", [True, False])
def test_second_device_leaves_first_untouched(graphs: bool) -> None:
    settings = short(compute__device="cuda:1", compute__cuda_graphs=graphs)
    training = Trainer(settings)
    before = training.learner.flat.vector.clone()
    simulator.reset()
    events = list(training.events())
    assert simulator.kernels.keys() == {"cuda:1"}
    assert not torch.equal(training.learner.flat.vector, before)
    assert losses(events) == pytest.approx(train_steps(change(settings, {"compute.device": "cuda:0"})), rel=1e-6)
    assert notes(events) == (["From now on, each meta-step is one CUDA graph"] if graphs else [])
    if graphs:
        assert simulator.graph_launches > 0
        assert all(capture.kernels and not capture.elsewhere for capture in simulator.captured)


def test_resume_on_another_device_and_back(tmp_path: Path) -> None:
    settings = short(compute__precision="float64", training__iterations=2, evaluation__every=2)
    run = saved_run(settings, tmp_path)
    reached = 2
    for device in ("cpu", "cuda:1", "cuda"):
        reached += 2
        session = Session.resume(run, {"training.iterations": reached, "compute.device": device})
        for _ in session:
            pass
        assert session.outcome.status == "finished"
    expected = train_steps(change(settings, {"training.iterations": reached, "compute.device": "cpu"}))
    written = [json.loads(line)["meta_loss"] for line in run.metrics_path.read_text().splitlines()]
    assert written == pytest.approx(expected, rel=1e-8)  # written with nine digits


@pytest.mark.parametrize(
    ("source", "algorithm"),
    [("sinusoid", "maml"), ("omniglot", "fomaml"), ("glyphs", "fomaml"), ("folder", "fomaml")],
)
def test_captured_meta_step_never_waits(
    source: str, algorithm: str, sources: dict[str, dict[str, Scalar]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metatui.learning.training.meta_steps.MAX_PENDING_STEPS", 3)
    settings = short(sources[source], algorithm__name=algorithm, training__iterations=9, evaluation__every=0)
    waits: list[int] = []
    run = Trainer(settings)
    for event in run.events():
        if isinstance(event, Progress) and event.iteration % 3 == 0:
            waits.append(simulator.waits.total())
            simulator.waits.clear()
        if event.iteration == 9:
            run.submit(Stop())
    # One wait to read the metrics of each group of meta-steps.
    assert waits[1:] == [1, 1], simulator.waits


def test_auto_measures_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "_milliseconds", MILLISECONDS)
    monkeypatch.setattr(autotune, "SECONDS", 0.0)
    experiment = set_up(short(compute__engine="auto", compute__device="auto"))
    assert experiment.device.name == "cuda:0"
    assert experiment.engine_reason.startswith("measured ")
    assert experiment.measured.ms.keys() == {"batched", "loop"}
    assert simulator.captured
