"""The base class of models, and the creation of the model that the settings select.

This module does not import torch, because forms and `--help` read the declarations of models.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, ClassVar

from metatui.config.registry import MODELS, Component, Kind
from metatui.utils.errors import BadInput, MetatuiError, Problem, SettingsError, class_and_message, quote

if TYPE_CHECKING:
    from torch import nn

    from metatui.config.settings import Settings

EXAMPLES = 2
"""Number of examples with which the output of a new model is checked. It is greater than 1, because batch norm can fail
with a single example."""


class Model(Component):
    """Declaration of a model: its settings, and how it is built."""

    registry = MODELS
    kinds: ClassVar[frozenset[Kind]] = frozenset({"regression", "classification"})
    """Kinds of tasks that the model supports."""
    compiles: ClassVar[bool] = False
    """Whether the compiled engine supports the model. It supports models that consist of only linear layers and
    elementwise functions."""
    batch_norm: ClassVar[bool] = True
    """Whether the model can contain batch norm."""

    @classmethod
    @abstractmethod
    def build(cls, settings: Settings, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """Create the network in float32 on the default device, initialised with torch's global random number generator.

        The network must be a function of its parameters and its input. Batch norm must not keep running statistics,
        because they would mix the statistics of different tasks. The last linear layer is the head; everything before
        it is the body.

        Args:
            input_shape: shape of one example: (C, H, W) for an image, (features,) for a row of numbers.
            outputs: width of the output, which is the number of classes or of target values.

        Raises:
            BadInput: if the model cannot be built for this shape.
        """

    @classmethod
    def violations(cls, settings: Settings) -> Iterator[tuple[str, str]]:
        kind: Kind = "classification" if settings.is_classification else "regression"
        if kind not in cls.kinds:
            names = [model.name for model in MODELS.components() if issubclass(model, Model) and kind in model.kinds]
            yield "model.name", f"one of auto, {', '.join(names)} if task.source = {quote(settings.task.source)}"


def make_model(settings: Settings, input_shape: tuple[int, ...], targets: int = 1) -> nn.Module:
    """Create the model selected by `settings`, in float32 on the default device.

    The random initial values of its parameters depend only on `training.seed`.

    Args:
        input_shape: shape of one example.
        targets: number of target values of a regression task; not used in classification.

    Raises:
        BadInput: if the model cannot be built, or does not map examples of the tasks to outputs of the right width.
    """
    from metatui.learning.data.random import seeded

    model = MODELS[settings.model_name]
    assert issubclass(model, Model)
    outputs = settings.most_ways if settings.is_classification else targets
    with seeded(settings.training.seed):
        try:
            network = model.build(settings, input_shape, outputs)
            shape = _output_shape(network, input_shape)
        except MetatuiError:
            raise
        except Exception as error:
            raise BadInput(
                f"model.name is {quote(model.name)}, which failed with examples of shape {list(input_shape)}: "
                f"{class_and_message(error)}"
            ) from error
    if shape != [EXAMPLES, outputs]:
        raise BadInput(
            f"model.name is {quote(model.name)}, whose output for {EXAMPLES} examples of shape {list(input_shape)} has "
            f"the shape {shape}, but must have the shape {[EXAMPLES, outputs]}"
        )
    return network


def _output_shape(network: nn.Module, input_shape: tuple[int, ...]) -> list[int]:
    """Return the shape of the network's output for `EXAMPLES` examples. The network does not change."""
    import torch
    from torch import nn

    if not isinstance(network, nn.Module):
        raise TypeError(f"build returned a {type(network).__name__}, but must return a torch.nn.Module")
    with torch.no_grad():
        return list(deepcopy(network)(torch.zeros(EXAMPLES, *input_shape)).shape)


def image_shape(settings: Settings, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return channels, height and width of an image.

    Raises:
        SettingsError: if examples of this shape are not images.
    """
    if len(input_shape) != 3:
        sentence = (
            f"model.name is {quote(settings.model.name)}, but must be another model, such as mlp: "
            f"{settings.model_name} is for images, not for examples of shape {list(input_shape)}"
        )
        raise SettingsError([Problem("model.name", sentence)])
    channels, height, width = input_shape
    return channels, height, width


def image_size_violations(settings: Settings, smallest: int, reason: str) -> Iterator[tuple[str, str]]:
    """Yield a violation if images are resized to fewer than `smallest` pixels per side.

    Args:
        reason: text that follows the number of pixels in the message.
    """
    from metatui.config.fields import FIELDS

    if settings.task.image_size < smallest and FIELDS["task.image_size"].is_relevant(settings):
        yield "task.image_size", f"at least {smallest} {reason}"


def group_violations(settings: Settings, widths: Iterable[int]) -> Iterator[tuple[str, str]]:
    """Yield a violation if the channels of a group norm cannot be divided evenly into the groups."""
    uneven = [width for width in widths if width % settings.model.groups]
    if settings.model.norm == "group" and uneven:
        yield "model.groups", f"a divisor of {uneven[0]}, the number of channels, if model.norm = 'group'"
