"""Tests of models loaded from runs: they give the results of an evaluation, need no data set, and can be exported."""

from __future__ import annotations

import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import metatui
from metatui.cli.main import main
from metatui.config.declarations import Scalar
from metatui.config.fields import change, parse
from metatui.config.registry import ALGORITHMS
from metatui.config.settings import Settings
from metatui.events import CurveView, ScatterView
from metatui.learning.data.episodes import Episodes
from metatui.learning.evaluation.evaluate import predictions
from metatui.learning.experiment import set_up
from metatui.learning.training.trainer_state import best_of, set_up_again
from metatui.runs.analysis.evaluate import views
from metatui.runs.execution.session import saved_state
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import BadInput
from tests.folder_files import names, write_classes
from tests.learning.data.table.tables import regressions
from tests.runs.analysis.comparisons import GLYPHS, SINUSOID, train

IMAGES = change(
    GLYPHS,
    {
        "compute.engine": "loop", "task.shots": 2, "evaluation.every": 2, "evaluation.tasks": 2,
        "evaluation.test_tasks": 2,
    },
)  # fmt: skip
CLASSIFIERS = ("protonet", "proto_maml")


@pytest.fixture(autouse=True)
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METATUI_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def held_out(run: RunFolder) -> tuple[Episodes, torch.Tensor]:
    """Return the test tasks 0 and 1 of a run, and the predictions that an evaluation makes for their query sets."""
    settings, state = saved_state(run)
    experiment = set_up_again(settings, state)
    theta, *_ = best_of(experiment, state)
    episodes = experiment.episodes("test", [0, 1], seed=settings.evaluation.seed, shots=settings.evaluation_shots)
    *_, (_, outputs) = predictions(experiment, theta, episodes, experiment.algorithm.evaluation_steps)
    return episodes, outputs


@pytest.mark.parametrize("kind", ["regression", "classification", "per_example"])
@pytest.mark.parametrize("algorithm", ALGORITHMS.names())
def test_adaptation_is_that_of_an_evaluation(algorithm: str, kind: str, runs_dir: Path) -> None:
    if kind == "regression" and algorithm in CLASSIFIERS:
        pytest.skip("for classification only")
    base = SINUSOID if kind == "regression" else IMAGES
    options: dict[str, Scalar] = {"evaluation__batch_norm": "per_example"} if kind == "per_example" else {}
    run = train(runs_dir, base, algorithm__name=algorithm, algorithm__inner_steps=2, **options)
    tasks, expected = held_out(run)
    evaluation = metatui.evaluate(run, tasks=2)
    model = metatui.load_model(run)
    before = {name: t.clone() for name, t in model.module.state_dict().items()}
    losses, hits = [], []
    for x, y, query_x, query_y, outputs in zip(*tasks.tensors(), expected, strict=True):
        adapted = model.adapt(x, y)
        torch.testing.assert_close(adapted(query_x), outputs, rtol=1e-5, atol=1e-5)
        losses.append(float((F.mse_loss if kind == "regression" else F.cross_entropy)(adapted(query_x), query_y)))
        hits += (adapted.predict(query_x) == query_y).flatten().tolist()
        if kind != "per_example":
            torch.testing.assert_close(adapted.module(query_x).detach(), outputs, rtol=1e-4, atol=1e-4)
    assert sum(losses) / 2 == pytest.approx(evaluation.loss.mean[-1], rel=1e-4)
    assert (adapted.steps, model.iteration) == (evaluation.steps[-1], evaluation.iteration)
    if evaluation.accuracy:
        assert sum(hits) / len(hits) == pytest.approx(evaluation.accuracy.mean[-1])
    assert all(torch.equal(t, before[name]) for name, t in model.module.state_dict().items())


def test_steps_and_inner_lr(runs_dir: Path) -> None:
    model = metatui.load_model(train(runs_dir))
    x = np.linspace(-2, 2, 5).reshape(-1, 1)
    adapted = model.adapt(x, np.sin(x), steps=1, inner_lr=0.5)
    assert repr(adapted) == "AdaptedModel(maml on sinusoid, 1 inner step on 5 examples)"
    network = model.module
    loss = F.mse_loss(network(torch.tensor(x).float()), torch.tensor(np.sin(x)).float())
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    for (name, p), g in zip(network.named_parameters(), gradients, strict=True):
        torch.testing.assert_close(adapted.module.get_parameter(name).data, p.data - 0.5 * g)
    assert not torch.equal(model.adapt(x, np.sin(x), steps=3)(x), adapted(x))
    assert torch.equal(adapted(x.astype(x.dtype.newbyteorder())), adapted(x)), "as in files of other machines"


def test_last_checkpoint(runs_dir: Path) -> None:
    run = train(runs_dir, algorithm__outer_lr=0.05)
    best, last = metatui.load_model(run), metatui.load_model(run, checkpoint="last")
    tensors = load_file(run.checkpoints_path / "last.safetensors")
    for model, prefix in ((best, "best"), (last, "theta")):
        for name, p in model.module.state_dict().items():
            assert torch.equal(p, tensors[f"{prefix}/{name}"])
    assert (best.checkpoint, last.checkpoint, last.iteration) == ("best", "last", 20)


@pytest.mark.parametrize("base", [SINUSOID, IMAGES], ids=["sinusoid", "images"])
@pytest.mark.parametrize("algorithm", ["maml", "protonet", "cavia", "meta_sgd"])
def test_pickled_model_makes_the_same_predictions(base: Settings, algorithm: str, runs_dir: Path) -> None:
    if base is SINUSOID and algorithm in CLASSIFIERS:
        pytest.skip("for classification only")
    run = train(runs_dir, base, algorithm__name=algorithm)
    tasks, _ = held_out(run)
    adapted = metatui.load_model(run).adapt(tasks.support_x[0], tasks.support_y[0])
    expected = adapted(tasks.query_x[0])
    file = io.BytesIO()
    torch.save(adapted, file)
    shutil.rmtree(runs_dir)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert torch.equal(loaded(tasks.query_x[0]), expected)
    assert repr(loaded) == repr(adapted)
    for name, p in adapted.module.state_dict().items():
        assert torch.equal(loaded.module.state_dict()[name], p)


def test_uint8_images_are_scaled(runs_dir: Path) -> None:
    model = metatui.load_model(train(runs_dir, IMAGES))
    pixels = torch.randint(0, 256, (6, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = [0, 1, 2, 0, 1, 2]
    scaled = pixels.float() * (1 / 255)
    assert torch.equal(model.adapt(pixels, labels)(pixels), model.adapt(scaled, labels)(scaled))


def test_image_files_are_read_as_by_the_data_set(runs_dir: Path, tmp_path: Path) -> None:
    root = write_classes(tmp_path / "pictures", names(20))
    run = train(runs_dir, IMAGES, task__source="folder", task__folder=str(root), task__image_size=16, task__shots=1)
    task, _ = held_out(run)
    files = sorted(root.glob("*/*"))
    model = metatui.load_model(run)
    images = model.read_images(files)
    assert images.shape == (80, 3, 16, 16)
    scaled = images.float() * (1 / 255)
    assert all((scaled == image).flatten(1).all(1).any() for image in task.support_x[0])
    assert sum(map(len, model.data.classes.values())) == 20
    files[0].write_bytes(b"text")
    with pytest.raises(BadInput, match=r"000\.png' is not a PNG or JPEG image"):
        model.read_images(files[:1])
    with pytest.raises(BadInput, match="but read_images needs a run with images from a folder"):
        metatui.load_model(train(runs_dir, IMAGES)).read_images(files)


def table_settings(path: Path, targets: str) -> Settings:
    return parse(
        {
            "task": {"source": "table", "shots": 5, "queries": 5},
            "table": {"file": str(path), "task_column": "plant", "targets": targets},
            "model": {"hidden": [16]},
            "training": {"iterations": 2},
            "evaluation": {"every": 1, "tasks": 2, "test_tasks": 2, "inner_steps": 2},
            "compute": {"device": "cpu", "engine": "batched"},
        }
    )


def test_table_in_its_units_without_the_table(tmp_path: Path, runs_dir: Path) -> None:
    path = regressions(tmp_path / "curves.csv")
    run = train(runs_dir, table_settings(path, "y0"))
    (view,) = views(run, [1])
    assert isinstance(view, CurveView)
    path.unlink()
    model = metatui.load_model(run)
    adapted = model.adapt([[x] for x in view.support_x], [[y] for y in view.support_y])
    curve = adapted.predict([[x] for x in view.grid])
    assert curve[:, 0].tolist() == pytest.approx(view.predictions[-1], rel=1e-4, abs=1e-4)
    assert model.data.inputs is not None
    assert model.data.inputs.columns == ("x0",)


def test_table_with_several_columns(tmp_path: Path, runs_dir: Path) -> None:
    run = train(runs_dir, table_settings(regressions(tmp_path / "wide.csv", inputs=3, targets=2), "y0,y1"))
    task, _ = held_out(run)
    settings, _ = saved_state(run)
    source: Any = set_up(settings).source
    (view,) = views(run, [0])
    assert isinstance(view, ScatterView)
    adapted = metatui.load_model(run).adapt(
        source.inputs_in_units(task.support_x[0]), source.targets_in_units(task.support_y[0])
    )
    predicted = adapted.predict(source.inputs_in_units(task.query_x[0])).T
    for row, expected in zip(predicted, view.predictions[-1], strict=True):
        assert row.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_exported_file_is_not_a_run(runs_dir: Path, tmp_path: Path) -> None:
    for given in ("model.safetensors", tmp_path / "model.safetensors"):
        with pytest.raises(BadInput, match="must be the name of the run, its folder or 'latest': exported files"):
            metatui.load_model(given)


def test_run_without_a_recorded_schema_needs_the_data(tmp_path: Path, runs_dir: Path) -> None:
    path = regressions(tmp_path / "curves.csv")
    run = train(runs_dir, table_settings(path, "y0"))
    run.data_path.unlink()
    x = [[0.0], [1.0]]
    assert metatui.load_model(run).adapt(x, x)(x).shape == (2, 1)
    path.unlink()
    with pytest.raises(BadInput, match=r"curves\.csv': there is no such file"):
        metatui.load_model(run)


def test_frozen_parameters_without_the_file_of_weights(tmp_path: Path, runs_dir: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    network = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    save_file(network.state_dict(), weights)
    run = train(runs_dir, model__weights=str(weights), algorithm__freeze="0.*")
    task, expected = held_out(run)
    weights.unlink()
    model = metatui.load_model(run)
    assert torch.equal(model.module.state_dict()["0.weight"], network.state_dict()["0.weight"])
    torch.testing.assert_close(model.adapt(task.support_x[0], task.support_y[0])(task.query_x[0]), expected[0])
    # The checkpoint as pretrained weights of another run gives the whole network, learned or not.
    again = set_up(change(SINUSOID, {"model.weights": str(run.checkpoints_path / "last.safetensors")}))
    assert all(torch.equal(t, model.module.state_dict()[name]) for name, t in again.model.state_dict().items())


ARRAY = "x is a list, but must be a tensor or an array of numbers with rows of equal length"
SHAPE = "but must have the shape [B, {}] with at least one example"
DENSE = "is a sparse, quantised, nested or meta tensor, but must be a dense tensor"
FINITE = "complex values, or NaN or infinity in float32, but all must be finite real numbers"
PIXELS = torch.zeros(3, 1, 28, 28)
RANGE = change(IMAGES, {"task.ways_range": "2-4"})
EXAMPLES: list[tuple[Settings, Any, Any, str]] = [
    (SINUSOID, [1.0, 2.0], [[1.0], [2.0]], f"x has the shape [2], {SHAPE.format(1)}"),
    (SINUSOID, torch.zeros(0, 1), torch.zeros(0, 1), f"x has the shape [0, 1], {SHAPE.format(1)}"),
    (SINUSOID, [[1.0], [2.0]], [1.0, 2.0], "y has the shape [2], but must have the shape [2, 1] for this x"),
    (SINUSOID, [[1.0], []], [1.0, 2.0], ARRAY),
    (SINUSOID, [["a"]], [[1.0]], ARRAY),
    (SINUSOID, [[math.nan]], [[1.0]], f"x has {FINITE}"),
    (SINUSOID, [[1e39]], [[1.0]], f"x has {FINITE}"),
    (SINUSOID, [[1.0]], [[-1e39]], f"y has {FINITE}"),
    (SINUSOID, torch.ones(2, 1).to_sparse(), torch.ones(2, 1), f"x {DENSE}"),
    (SINUSOID, torch.ones(2, 1), torch.ones(2, 1, device="meta"), f"y {DENSE}"),
    (IMAGES, PIXELS[:, 0], [0, 1, 2], f"x has the shape [3, 28, 28], {SHAPE.format('1, 28, 28')}"),
    (
        IMAGES, PIXELS + 255, [0, 1, 2],
        "x has pixel values from 255 to 255, but must have values from 0 to 1, or uint8 values from 0 to 255",
    ),
    (IMAGES, PIXELS, [1, 2, 3], "y has the labels 1, 2, 3, but must have all labels from 0 to 2"),
    (IMAGES, PIXELS, [0.0, 1.0, 2.0], "y has values of type float64, but must have integer labels"),
    (
        RANGE, PIXELS[:2], [0, 3],
        "y has the labels 0, 3, but must have all labels from 0 to N - 1 for a task of N classes, where N is at most 4",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "x", "y", "sentence"), EXAMPLES)
def test_bad_examples(settings: Settings, x: object, y: object, sentence: str, runs_dir: Path) -> None:
    model = metatui.load_model(train(runs_dir, settings, training__iterations=1))
    with pytest.raises(BadInput) as error:
        model.adapt(x, y)  # type: ignore[arg-type]
    assert str(error.value) == sentence


def test_bad_arguments(runs_dir: Path) -> None:
    run = train(runs_dir)
    with pytest.raises(BadInput, match="checkpoint is 'first', but must be best or last"):
        metatui.load_model(run, checkpoint="first")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"evaluation\.inner_steps is 0, but must be"):
        metatui.load_model(run).adapt([[0.0]], [[0.0]], steps=0)
    with pytest.raises(BadInput, match="ignores it"):
        metatui.load_model(train(runs_dir, IMAGES, algorithm__name="protonet")).adapt([[0.0]], [[0.0]], steps=2)


@pytest.mark.parametrize("path", ["a\0b", "", "/"])
def test_invalid_file_names(path: str, runs_dir: Path) -> None:
    model = metatui.load_model(train(runs_dir, training__iterations=1))
    with pytest.raises(BadInput, match=r"path is '.*', which is not a valid file name"):
        model.save(path)


def test_fewer_classes_with_a_range_of_ways(runs_dir: Path) -> None:
    model = metatui.load_model(train(runs_dir, IMAGES, task__ways_range="2-4", algorithm__name="protonet"))
    x = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    adapted = model.adapt(x, [0, 1])
    assert adapted(x).shape == (2, 4)
    assert adapted.predict(x).tolist() == [0, 1]


def test_one_image_that_the_network_reduces_to_one_pixel(runs_dir: Path, tmp_path: Path) -> None:
    root = write_classes(tmp_path / "pictures", names(20))
    run = train(runs_dir, IMAGES, task__source="folder", task__folder=str(root), task__image_size=16, task__shots=1)
    model = metatui.load_model(run)
    x = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with pytest.raises(BadInput, match="x has 1 image, but must have at least 2, because batch norm uses their stati"):
        model.adapt(x, [0, 1, 2])(x[:1])
    adapted = model.adapt(x, [0, 1, 2], batch_norm="per_example")
    torch.testing.assert_close(adapted(x[:1]), adapted(x)[:1])


def test_export_of_the_model(runs_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(runs_dir, IMAGES)
    assert main(["runs", "export", run.id, "--model", "--to", "model.safetensors"]) == 0
    model = metatui.load_model(run)
    count = len(model.module.state_dict())
    written = f"Wrote {count} tensors to model.safetensors: the best parameters, from meta-step {model.iteration}\n"
    assert capsys.readouterr().out == written
    network = set_up(run.settings()).model
    network.load_state_dict(load_file("model.safetensors"))
    assert all(torch.equal(t, model.module.state_dict()[name]) for name, t in network.state_dict().items())
    with safe_open("model.safetensors", "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["settings"])["task"]["source"] == "glyphs"
    assert json.loads(metadata["data"])["input_shape"] == [1, 28, 28]
    assert (metadata["run"], metadata["checkpoint"]) == (run.id, "best")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "runs"]


def test_learned_rates_are_exported_to_a_second_file(
    runs_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(runs_dir, algorithm__name="meta_sgd")
    command = ["runs", "export", run.id, "--model", "--to", "model.safetensors"]
    assert main(command) == 0
    rates = load_file("model.meta-parameters.safetensors")
    assert rates.keys() == {f"inner_lr/{name}" for name in load_file("model.safetensors")}
    assert "Wrote 4 tensors to model.meta-parameters.safetensors" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "model.safetensors").unlink()
    assert main(command) == 2
    assert (
        "the file of meta-parameters next to the model file is 'model.meta-parameters.safetensors', which already"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--to is '-', but with --model it must be a file name that ends in .safetensors"),
        (["--to", "x.pt"], "--to is 'x.pt', but with --model it must be a file name that ends in .safetensors"),
        (["--evaluations"], "--model and --evaluations cannot be used together"),
        (["--to", "x.safetensors"], "has no checkpoint yet"),
    ],
)
def test_refused_exports(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    from metatui.runs.storage.store import RunStore

    run = RunStore().create(Settings())
    assert main(["runs", "export", run.id, "--model", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_run_of_a_device_that_this_machine_does_not_have(runs_dir: Path) -> None:
    run = train(runs_dir, compute__device="auto")
    x = torch.linspace(-2, 2, 5).unsqueeze(1)
    expected = metatui.load_model(run).adapt(x, x)(x)
    run.journal_path.write_text(run.journal_path.read_text().replace('"device":"cpu"', '"device":"cuda:7"'))
    torch.testing.assert_close(metatui.load_model(run, device="cpu").adapt(x, x)(x), expected)
    with pytest.raises(BadInput, match=r"compute\.device is 'cuda:7'"):
        metatui.load_model(run, device="cuda:7")


def test_damaged_schema(runs_dir: Path) -> None:
    run = train(runs_dir)
    content = json.loads(run.data_path.read_text())
    run.data_path.write_text(json.dumps(content | {"data": content["data"] | {"input_shape": [0]}}))
    with pytest.raises(BadInput, match=r"data\.json' cannot be used: .*an example must consist of positive numbers"):
        metatui.load_model(run)
