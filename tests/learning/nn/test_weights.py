"""Tests of loading pretrained weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor, nn

from metatui.config.fields import change, parse
from metatui.learning.models.conv4 import conv4
from metatui.learning.nn.weights import load_weights
from metatui.learning.training.trainer import Trainer
from metatui.learning.training.trainer_state import TrainerState
from metatui.runs.storage.checkpoints import save_checkpoint
from metatui.utils.errors import BadInput

State = dict[str, Tensor]


def network(ways: int = 3) -> nn.Sequential:
    return conv4(ways, filters=2)


@pytest.fixture
def state() -> State:
    """Return the state of a network that has the layers of `network()` but other random values."""
    return {name: t.clone() for name, t in network().state_dict().items()}


def equal(model: nn.Module, state: State) -> bool:
    return all(torch.equal(t, state[name]) for name, t in model.state_dict().items())


def test_all_tensors_are_loaded(tmp_path: Path, state: State) -> None:
    file, model = tmp_path / "weights.safetensors", network()
    save_file(state, file)
    loaded = load_weights(model, str(file))
    assert equal(model, state)
    assert all(p.requires_grad for p in model.parameters())
    assert loaded.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert loaded.report == (
        f"model.weights: 14 of 14 tensors of the model loaded from 'weights.safetensors' (SHA-256 {loaded.digest[:12]})"
    )


@pytest.mark.parametrize("prefix", ["module.", "encoder.net.", "theta/"])
def test_common_prefix(prefix: str, tmp_path: Path, state: State) -> None:
    file, model = tmp_path / "weights.safetensors", network()
    save_file({prefix + name: t for name, t in state.items()}, file)
    assert f"where their names start with '{prefix}'" in load_weights(model, str(file)).report
    assert equal(model, state)


def test_checkpoint_of_a_run(tmp_path: Path, state: State) -> None:
    last = {f"theta/{name}": torch.zeros_like(t) for name, t in state.items()}
    best = {f"best/{name}": t for name, t in state.items()}
    save_checkpoint(tmp_path, "best", TrainerState(tensors={**last, **best}, values={"iteration": 3}))
    model = network()
    load_weights(model, str(tmp_path / "best.safetensors"))
    assert equal(model, state)


def test_checkpoint_without_a_validation(tmp_path: Path, state: State) -> None:
    """Check that the optimiser's tensors, which have the names and shapes of the weights, are not loaded as weights."""
    others = {f"algorithm/exp_avg/{name}": torch.zeros_like(t) for name, t in state.items()}
    last = {f"theta/{name}": t for name, t in state.items()}
    save_checkpoint(tmp_path, "last", TrainerState(tensors={**others, **last}, values={"iteration": 3}))
    model = network()
    load_weights(model, str(tmp_path / "last.safetensors"))
    assert equal(model, state)


def test_report_names_what_does_not_match(tmp_path: Path, state: State) -> None:
    file, model = tmp_path / "weights.safetensors", network(ways=4)
    head = {name: t.clone() for name, t in model.state_dict().items() if name.startswith("17.")}
    del state["0.weight"]
    others = {f"old\x1b.{i}": torch.zeros(1) for i in range(6)}
    save_file({**state, **others}, file)
    report = load_weights(model, str(file)).report
    assert "11 of 14 tensors" in report
    assert "; not in the file: 0.weight; " in report
    assert "; not in the model: old�.0, old�.1, old�.2, old�.3 and 2 more; " in report
    assert report.endswith("; of a different shape: 17.bias [3] instead of [4], 17.weight [3, 2] instead of [4, 2]")
    assert torch.equal(model.get_parameter("1.weight"), state["1.weight"])
    assert all(torch.equal(model.state_dict()[name], t) for name, t in head.items())


def test_values_are_converted_to_the_precision_of_the_model(tmp_path: Path, state: State) -> None:
    file, model = tmp_path / "weights.safetensors", network().double()
    save_file({name: t.to(torch.bfloat16) for name, t in state.items()}, file)
    load_weights(model, str(file))
    assert equal(model, {name: t.to(torch.bfloat16).double() for name, t in state.items()})


def truncated(state: State) -> bytes:
    return save(state)[:-7]


def with_long_header(state: State) -> bytes:
    return (2**60).to_bytes(8, "little") + save(state)[8:]


def pickled(state: State) -> bytes:
    return b"PK\x03\x04" + 500 * b"\0"


def other_names(state: State) -> bytes:
    return save({f"x{name}": t for name, t in state.items()})


def integers(state: State) -> bytes:
    return save({name: t.to(torch.int32) for name, t in state.items()})


def infinite(state: State) -> bytes:
    return save({**state, "4.weight": state["4.weight"] / 0})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (truncated, "but must be an intact safetensors file"),
        (with_long_header, "but must be an intact safetensors file"),
        (pickled, "but must be an intact safetensors file"),
        (lambda _: b"", "but must be an intact safetensors file"),
        (
            lambda _: save({}),
            "a file with tensors that fit the model: the file has none, and the model has 0.weight [2, 1, 3, 3]",
        ),
        (other_names, "but must be a file with tensors that fit the model: the file has x0.weight [2, 1, 3, 3], "),
        (integers, "but must be a file with tensors that fit the model: the file has 0.weight int32 [2, 1, 3, 3], "),
        (infinite, "but all its values must be finite numbers, and some values of 4.weight are not"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(
    content: Callable[[State], bytes], sentence: str, tmp_path: Path, state: State
) -> None:
    file, model = tmp_path / "weights.safetensors", network()
    file.write_bytes(content(state))
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(BadInput) as caught:
        load_weights(model, str(file))
    assert str(caught.value).startswith("model.weights is '")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert equal(model, before)


@pytest.mark.parametrize(("name", "sentence"), [("none", "there is no such file"), (".", "is not a file")])
def test_missing_files_are_refused(name: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        load_weights(network(), str(tmp_path / name))
    assert str(caught.value).startswith("model.weights is '")
    assert str(caught.value).endswith(sentence)


def test_runs_start_from_the_weights_and_refuse_other_ones(tmp_path: Path, state: State) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(state, file)
    settings = parse(
        {
            "task": {"source": "glyphs", "ways": 3, "shots": 1, "queries": 1},
            "model": {"filters": 2, "weights": str(file)},
            "training": {"iterations": 1},
            "evaluation": {"every": 0, "tasks": 2, "test_tasks": 2, "inner_steps": 1},
            "compute": {"device": "cpu", "engine": "loop"},
        }
    )
    trainer = Trainer(settings)
    assert trainer.experiment.notes[-1].startswith("model.weights: 14 of 14 tensors of the model loaded from ")
    assert not trainer.experiment.notices
    assert all(torch.equal(p, state[name]) for name, p in trainer.experiment.theta().items())
    save_file(dict(list(state.items())[:3]), tmp_path / "part.safetensors")
    part = Trainer(change(settings, {"model.weights": str(tmp_path / "part.safetensors")})).experiment
    assert part.notices[-1].startswith("model.weights: 3 of 14 tensors of the model loaded from ")
    assert not part.notes
    saved = trainer.state()
    Trainer(settings, state=saved)
    save_file({name: 2 * t for name, t in state.items()}, file)
    with pytest.raises(BadInput, match="no longer the one that the run started from"):
        Trainer(settings, state=saved)
