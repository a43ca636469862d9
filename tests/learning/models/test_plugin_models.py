"""Tests of models from plugins, which may be any module and are checked when they are built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from metatui.config.fields import parse
from metatui.config.registry import MODELS
from metatui.config.settings import Settings
from metatui.learning.model import Model, make_model
from metatui.learning.nn.layers import head_names
from metatui.utils.errors import BadInput


class TwoPaths(nn.Module):
    """A module with a skip connection, which cannot be written as a sequence of layers."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.skip = nn.Linear(inputs, outputs)
        self.first = nn.Linear(inputs, 3)
        self.norm = nn.BatchNorm1d(3)
        self.last = nn.Linear(3, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.skip(x) + self.last(torch.tanh(self.norm(self.first(x))))
        return y


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int, int], Any]], Settings]:
    """Return a function that registers a model and returns settings that select it.

    The argument of the function is another function, which builds the module.
    """

    def register(make: Callable[[int, int], Any]) -> Settings:
        class Mine(Model):
            name = "mine"
            title = "Mine"

            @classmethod
            def build(cls, settings: Settings, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
                module: nn.Module = make(input_shape[0], outputs)
                return module

        monkeypatch.setitem(MODELS._classes, "mine", Mine)
        return parse({"model": {"name": "mine"}, "training": {"seed": 2}})

    return register


def test_any_module_is_built_from_the_seed(settings: Callable[..., Settings]) -> None:
    chosen = settings(TwoPaths)
    model = make_model(chosen, (4,), targets=2)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        expected = TwoPaths(4, 2).state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in model.state_dict().items())
    assert head_names(model) == ["last.weight", "last.bias"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda i, o: nn.Linear(i, o + 1), "whose output for 2 examples of shape [4] has the shape [2, 2], but must "),
        (lambda i, o: nn.Linear(i + 1, o), "which failed with examples of shape [4]: RuntimeError: mat1 and mat2 "),
        (lambda i, o: 1 // 0, "which failed with examples of shape [4]: ZeroDivisionError: "),
        (lambda i, o: None, "which failed with examples of shape [4]: TypeError: build returned a NoneType, but "),
    ],
    ids=["width", "forward", "build", "none"],
)
def test_bad_modules_are_refused(
    make: Callable[[int, int], Any], sentence: str, settings: Callable[..., Settings]
) -> None:
    chosen = settings(make)
    with pytest.raises(BadInput) as caught:
        make_model(chosen, (4,))
    assert str(caught.value).startswith(f"model.name is 'mine', {sentence}")
