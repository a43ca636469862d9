"""Calling a module with parameters that are not its own."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

from torch import Tensor, nn

from metatui.learning.optim.inner import Params


class FunctionalModule:
    """What torch.func.functional_call does, on a copy of a module that nobody else uses: parameters are written where
    the copy keeps its own and are left there, which takes less time."""

    def __init__(self, model: nn.Module, change: Callable[[nn.Module], nn.Module]) -> None:
        """
        Args:
            change: makes other layers of the copy's, around the same parameters, whatever they are called then.
        """
        self._of = model, change
        copy = deepcopy(model)
        names = {id(p): name for name, p in copy.named_parameters()}
        self._model = change(copy)
        self._slots: dict[str, list[tuple[dict[str, Tensor | None], str]]] = {name: [] for name in names.values()}
        for module in self._model.modules():
            # One parameter may be in several places.
            for key, p in module._parameters.items():
                if p is not None:
                    self._slots[names[id(p)]].append((module._parameters, key))  # type: ignore[arg-type]

    def another(self) -> FunctionalModule:
        """The same on another copy, for another thread."""
        return FunctionalModule(*self._of)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        """The module's output for x, by `params`; what they do not name is the module's own."""
        for name, p in params.items():
            for kept, key in self._slots[name]:
                kept[key] = p
        predicted: Tensor = self._model(x)
        return predicted
