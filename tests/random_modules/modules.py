"""Random generation of small modules.

A `random.Random` determines the structure of a module, and torch's generator determines its parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from metatui.learning.models.conv4 import conv4
from metatui.learning.models.mlp import mlp
from tests.random_modules import layers as own

Shape = tuple[int, ...]
"""The shape of one example, which is (D), (C, L), (L, D) or (C, H, W)."""

Piece = Callable[[Random, Shape], nn.Module]

_ACTIVATIONS: tuple[Callable[[], nn.Module], ...] = (
    nn.Tanh, nn.ReLU, lambda: nn.ReLU(inplace=True), nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU,
    nn.LeakyReLU, nn.Softplus, nn.Identity, nn.PReLU, nn.Hardtanh, nn.Softsign, nn.Mish, nn.RReLU, nn.CELU,
)  # fmt: skip


def _activation(r: Random, _: Shape) -> nn.Module:
    return r.choice(_ACTIVATIONS)()


def _norm_options(r: Random) -> dict[str, Any]:
    return {
        "affine": r.random() < 0.7,
        "track_running_stats": r.random() < 0.5,
        "momentum": r.choice([0.1, 0.5, None]),
    }


def _batch_norm(r: Random, shape: Shape) -> nn.Module:
    return (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0], **_norm_options(r))


def _instance_norm(r: Random, shape: Shape) -> nn.Module:
    options = {**_norm_options(r), "momentum": 0.1}
    return (nn.InstanceNorm2d if len(shape) == 3 else nn.InstanceNorm1d)(shape[0], **options)


def _group_norm(r: Random, shape: Shape) -> nn.Module:
    return nn.GroupNorm(r.choice([n for n in range(1, shape[0] + 1) if shape[0] % n == 0]), shape[0])


def _convolution(r: Random, shape: Shape) -> nn.Module:
    groups = r.choice([1, 1, 1, shape[0]])
    kernel = r.choice([1, 2, 3, 3])
    options: dict[str, Any] = {
        "stride": r.choice([1, 1, 2]),
        "padding": r.choice([0, 1, "same"]),
        "dilation": r.choice([1, 1, 2]),
        "groups": groups,
        "bias": r.random() < 0.6,
        "padding_mode": r.choice(["zeros", "zeros", "reflect", "replicate", "circular"]),
    }
    if options["padding"] == "same":
        options["stride"] = 1
    make = nn.Conv2d if len(shape) == 3 else nn.Conv1d
    return make(shape[0], groups * r.choice([1, 2]), kernel, **options)


def _transposed_convolution(r: Random, shape: Shape) -> nn.Module:
    make = nn.ConvTranspose2d if len(shape) == 3 else nn.ConvTranspose1d
    return make(shape[0], r.randint(1, 2), r.choice([1, 2]), stride=r.choice([1, 2]), bias=r.random() < 0.5)


def _pooling(r: Random, shape: Shape) -> nn.Module:
    if len(shape) == 3:
        return r.choice(
            [nn.MaxPool2d(2), nn.MaxPool2d(2, ceil_mode=True), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2),
             nn.AdaptiveMaxPool2d(2), nn.MaxPool2d(3, stride=1, padding=1), nn.LPPool2d(2, 2)]
        )  # fmt: skip
    return r.choice([nn.MaxPool1d(2), nn.AvgPool1d(2), nn.AdaptiveAvgPool1d(2), nn.AdaptiveMaxPool1d(3)])


def _block(r: Random, shape: Shape) -> nn.Module:
    """Return a convolutional block of the kind for which metatui has hand-written derivatives."""
    channels = r.choice([2, 3, 8])
    norm = nn.BatchNorm2d(channels, **(_norm_options(r) if r.random() < 0.4 else {"track_running_stats": False}))
    tail = [nn.ReLU(inplace=r.random() < 0.3), nn.MaxPool2d(2)]
    r.shuffle(tail)
    first = nn.Conv2d(shape[0], channels, 3, padding=1, bias=r.random() < 0.4)
    return nn.Sequential(first, norm, *tail[: r.choice([1, 2, 2])])


def _upsampling(r: Random, _: Shape) -> nn.Module:
    return nn.Upsample(scale_factor=2, mode=r.choice(["nearest", "bilinear"]))


def _linear(r: Random, shape: Shape) -> nn.Module:
    return nn.Linear(shape[-1], r.randint(2, 4), bias=r.random() < 0.8)


def _recurrent(r: Random, shape: Shape) -> nn.Module:
    make = r.choice([nn.RNN, nn.GRU, nn.LSTM])
    two = r.random() < 0.3
    cells = make(
        shape[-1], 2, num_layers=2 if two else 1, batch_first=True, bidirectional=r.random() < 0.3,
        dropout=r.choice([0.0, 0.3]) if two else 0.0,
    )  # fmt: skip
    return own.Recurrent(cells, last=r.random() < 0.6)


def _cell(r: Random, shape: Shape) -> nn.Module:
    return own.CellLoop(r.choice([nn.RNNCell, nn.GRUCell, nn.LSTMCell])(shape[-1], 3), 3)


def _transformer(r: Random, shape: Shape) -> nn.Module:
    return nn.TransformerEncoderLayer(shape[-1], 1, 3, dropout=r.choice([0.0, 0.1]), batch_first=True)


def _stateful(r: Random, shape: Shape) -> nn.Module:
    choices: list[Callable[[], nn.Module]] = [
        lambda: own.Centre(shape), lambda: own.CentreInPlace(shape), lambda: own.GraphThroughBuffer(shape),
        own.CountingBuffer, own.Counter, own.History, own.Normaliser, lambda: own.ClampedWeight(shape[-1]),
    ]  # fmt: skip
    return r.choice(choices)()


def _branching(r: Random, _: Shape) -> nn.Module:
    return r.choice([own.Branch, own.DataLoop, own.MaskedSquare, own.AddSorted])()


def _random(r: Random, shape: Shape) -> nn.Module:
    choices: list[Callable[[], nn.Module]] = [
        lambda: nn.Dropout(0.4), lambda: nn.AlphaDropout(0.2), own.Noise, own.FunctionalDropout, own.PythonRandom,
    ]  # fmt: skip
    if len(shape) == 3:
        choices.append(lambda: nn.Dropout2d(0.3))
    return r.choice(choices)()


def _plain(r: Random, shape: Shape) -> nn.Module:
    choices: list[Callable[[], nn.Module]] = [
        own.Scale, own.InPlace, own.AcrossExamples, lambda: own.custom(r), lambda: own.TransposedReuse(shape[-1]),
    ]  # fmt: skip
    return r.choice(choices)()


def _combined(r: Random, shape: Shape) -> nn.Module:
    """Return a random layer inside another module, such as a skip connection or parallel branches."""
    inner = _piece(r, shape)
    same = r.choice([nn.Tanh(), nn.Identity(), own.Scale()])
    choices: list[Callable[[], nn.Module]] = [
        lambda: own.Skip(inner), lambda: own.Twice(inner), lambda: own.Checkpointed(inner), lambda: own.Twice(inner),
        lambda: own.Checkpointed(nn.Sequential(inner, own.Scale())), lambda: own.Parallel(inner, inner),
        lambda: own.Parallel(inner, nn.Sequential(inner, same)),
    ]  # fmt: skip
    if isinstance(getattr(inner, "weight", None), nn.Parameter):
        choices += [lambda: own.WeightReader(inner)] * 3
    return r.choice(choices)()


_COMMON: list[Piece] = [_activation, _activation, _stateful, _branching, _random, _plain, _combined, _combined]
_PIECES: dict[int, list[Piece]] = {
    1: [
        _linear, _linear, _batch_norm, _group_norm, lambda r, s: nn.LayerNorm([*s]), _cell,
        lambda r, s: own.DotAttention(s[-1]), *_COMMON,
    ],
    2: [
        _convolution, _transposed_convolution, _batch_norm, _instance_norm, _group_norm, _pooling, _linear, _recurrent,
        _recurrent, _cell, _transformer, lambda r, s: own.SelfAttention(s[-1], r.random() < 0.5),
        lambda r, s: own.DotAttention(s[-1]), lambda r, s: nn.LayerNorm(s[-1]), lambda r, s: own.PlainView(), *_COMMON,
    ],
    3: [
        _convolution, _convolution, _transposed_convolution, _batch_norm, _instance_norm, _group_norm, _pooling,
        _block, _block, _upsampling, lambda r, s: nn.LayerNorm([*s]), lambda r, s: own.ChannelsLast(),
        lambda r, s: own.PlainView(), *_COMMON,
    ],
}  # fmt: skip


def _piece(r: Random, shape: Shape) -> nn.Module:
    """Return a random layer that accepts examples of `shape` and whose output is neither empty nor large."""
    while True:
        try:
            module = r.choice(_PIECES[len(shape)])(r, shape)
            after = _output_shape(module, shape)
        except (RuntimeError, ValueError, AssertionError, IndexError):
            continue  # for example, the kernel is larger than its input
        if 1 <= len(after) <= 3 and 1 <= torch.Size(after).numel() <= 150:
            return module


def _output_shape(module: nn.Module, shape: Shape) -> Shape:
    """Return the shape of the output of `module` for one example.

    Raises ValueError if the first axis of the output does not have the size of the batch.
    """
    found = {
        n: tuple(deepcopy(module).double()(torch.rand(n, *shape, dtype=torch.float64)).shape) for n in (2, 3)
    }  # fmt: skip
    if any(after[0] != n for n, after in found.items()):
        raise ValueError("the module moves the axis of examples")
    return found[3][1:]


def _ends_in_features(r: Random, shape: Shape) -> nn.Module:
    """Return a layer that converts each example of `shape` to a vector."""
    if len(shape) == 1:
        return nn.Identity()
    return r.choice([nn.Flatten(), nn.Flatten(), own.ViewFlatten(), own.Mean()])


def _body(r: Random, shape: Shape, length: int) -> tuple[list[nn.Module], Shape]:
    layers: list[nn.Module] = []
    for _ in range(length):
        repeatable = [layer for layer in layers if _fits(layer, shape)]
        layer = r.choice(repeatable) if repeatable and r.random() < 0.15 else _piece(r, shape)
        shape = _output_shape(layer, shape)
        layers.append(layer)
    return layers, shape


def _fits(layer: nn.Module, shape: Shape) -> bool:
    try:
        return len(_output_shape(layer, shape)) in _PIECES
    except (RuntimeError, ValueError, AssertionError, IndexError):
        return False


def _container(r: Random, layers: list[nn.Module]) -> nn.Module:
    """Return a module that calls `layers` in sequence, implemented in one of several ways."""
    kind = r.random()
    if kind < 0.5 or not layers:
        return nn.Sequential(*layers)
    if kind < 0.6:
        return own.LayerList(layers)
    if kind < 0.7:
        return own.LayerDict(layers)
    if kind < 0.8:
        cut = r.randrange(len(layers))
        return nn.Sequential(nn.Sequential(*layers[:cut]), nn.Sequential(*layers[cut:]))
    return own.Tap(nn.Sequential(*layers), r.randrange(len(layers)))


@dataclass
class GeneratedModule:
    """A generated module, and a description of its inputs and outputs."""

    module: nn.Module
    inputs: Shape
    """The shape of one input example."""
    outputs: int
    tokens: int = 0
    """Inputs are non-negative integers below this number, or real numbers if this number is 0."""
    changes: list[str] = field(default_factory=list)
    """Descriptions of the changes that were made to the module after it was built."""


def make_module(r: Random) -> GeneratedModule:
    """Return a random module with float64 parameters, and add noise to their initial values."""
    made = r.choice([_perceptron, _image_network, _any, _any, _any, _any, _dense, _of_tokens])(r)
    if r.random() < 0.12:  # before the changes, so that hooks and ties apply to it
        made.module = own.Checkpointed(made.module)
        made.changes.append("checkpoint")
    if r.random() < 0.6:
        for _ in range(r.choice([1, 1, 2, 3])):
            change = r.choice(_CHANGES)
            with torch.no_grad():
                made.changes += [name for name in [change(r, made.module)] if name]
    with torch.no_grad():
        for p in made.module.double().parameters():
            p.add_(0.1 * torch.randn_like(p))
    return made


def _perceptron(r: Random) -> GeneratedModule:
    inputs, outputs = r.randint(1, 4), r.randint(1, 4)
    if r.random() < 0.5:
        model = mlp([r.randint(2, 5) for _ in range(r.randint(1, 2))], inputs=inputs, outputs=outputs)
    else:
        shared = r.choice([nn.Tanh(), nn.ReLU(), nn.ReLU(inplace=True)])
        width = r.randint(2, 4)
        middle = nn.Linear(width, width)
        model = nn.Sequential(
            nn.Linear(inputs, width), shared, middle, shared, *r.choice([[], [middle]]), nn.Linear(width, outputs)
        )
    return GeneratedModule(model, (inputs,), outputs)


def _image_network(r: Random) -> GeneratedModule:
    outputs, filters = r.randint(2, 4), r.choice([2, 8])
    model = conv4(
        outputs, input_shape=(1, 16, 16), filters=filters, downsample=r.choice(["max_pool", "stride"]),
        features=r.choice(["flatten", "mean"]),
    )  # fmt: skip
    return GeneratedModule(model, (1, 16, 16), outputs)


def _any(r: Random) -> GeneratedModule:
    shape = _input_shape(r)
    outputs = r.randint(1, 4)
    layers, after = _body(r, shape, r.randint(1, 4))
    layers.append(_ends_in_features(r, after))
    width = _output_shape(layers[-1], after)[0]
    if r.random() < 0.15:
        return GeneratedModule(own.HeadTwice(_container(r, layers), width, outputs), shape, outputs)
    if r.random() < 0.5:
        return GeneratedModule(_container(r, [*layers, nn.Linear(width, outputs)]), shape, outputs)
    return GeneratedModule(nn.Sequential(_container(r, layers), nn.Linear(width, outputs)), shape, outputs)


def _dense(r: Random) -> GeneratedModule:
    shape = r.choice([(2, 4, 4), (1, 5, 5), (3, 6)])
    while True:
        layers, after = _body(r, shape, r.randint(1, 2))
        if len(after) == len(shape):
            break
    outputs = r.randint(2, 3)
    head = (nn.Conv2d if len(shape) == 3 else nn.Conv1d)(after[0], outputs, 1)
    return GeneratedModule(_container(r, [*layers, head]), shape, outputs)


def _of_tokens(r: Random) -> GeneratedModule:
    count, width, length = 6, r.randint(2, 3), r.randint(2, 4)
    outputs = r.randint(2, 4)
    embedding = nn.Embedding(
        count, width, padding_idx=r.choice([None, 0]), max_norm=r.choice([None, None, 0.7]),
        scale_grad_by_freq=r.random() < 0.2,
    )  # fmt: skip
    if r.random() < 0.15:
        bag = nn.EmbeddingBag(count, width, mode=r.choice(["mean", "sum"]))
        return GeneratedModule(nn.Sequential(bag, nn.Linear(width, outputs)), (length,), outputs, tokens=count)
    layers, after = _body(r, (length, width), r.randint(1, 2))
    layers.append(_ends_in_features(r, after))
    head = nn.Linear(_output_shape(layers[-1], after)[0], outputs)
    return GeneratedModule(_container(r, [embedding, *layers, head]), (length,), outputs, tokens=count)


def _input_shape(r: Random) -> Shape:
    return r.choice([(r.randint(1, 4),), (r.randint(1, 3), r.randint(3, 6)), (r.randint(1, 3), 6, 6)])


class Hook:
    """A forward hook that doubles the output."""

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        return 2 * output if isinstance(output, Tensor) else None


class PreHook:
    """A forward pre-hook that halves the first input if it is a floating-point tensor."""

    def __call__(self, module: nn.Module, inputs: Any) -> Any:
        first = inputs[0] if inputs else None
        return (0.5 * first, *inputs[1:]) if isinstance(first, Tensor) and first.is_floating_point() else None


class Recorder:
    """A forward hook that stores the shape of each output and does not change the output."""

    def __init__(self) -> None:
        self.seen: list[Shape] = []

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.seen.append(tuple(getattr(output, "shape", ())))


class BackwardHook:
    """A full backward hook that halves the gradients with respect to the inputs."""

    def __call__(self, module: nn.Module, grad_input: Any, grad_output: Any) -> Any:
        return tuple(None if g is None else 0.5 * g for g in grad_input)


class BackwardPreHook:
    """A full backward pre-hook that doubles the gradients with respect to the outputs."""

    def __call__(self, module: nn.Module, grad_output: Any) -> Any:
        return tuple(None if g is None else 2 * g for g in grad_output)


class GradientHook:
    """A tensor hook that triples the gradient of a parameter.

    It does not affect meta-gradients, which are computed with respect to copies of the parameters without hooks.
    """

    def __call__(self, gradient: Tensor) -> Tensor:
        return 3 * gradient


def _hooked(r: Random, module: nn.Module) -> str:
    part = r.choice(list(module.modules()))
    match r.randrange(5):
        case 0:
            part.register_forward_hook(Hook())
        case 1:
            part.register_forward_pre_hook(PreHook())
        case 2:
            part.register_forward_hook(Recorder())
        case 3:
            part.register_full_backward_hook(BackwardHook())
        case _:
            part.register_full_backward_pre_hook(BackwardPreHook())
    return f"hook on {type(part).__name__}"


def _gradient_hook(r: Random, module: nn.Module) -> str:
    p = r.choice(list(module.parameters()))
    if p.requires_grad:
        p.register_hook(GradientHook())  # type: ignore[no-untyped-call]
        return "hook on a parameter"
    return ""


def _tied(r: Random, module: nn.Module) -> str:
    """Tie two parameters of the same shape, if the module has such a pair."""
    places = [(part, key, p) for part in module.modules() for key, p in part._parameters.items() if p is not None]
    pairs = [(a, b) for a in places for b in places if a[2] is not b[2] and a[2].shape == b[2].shape]
    if not pairs:
        return ""
    (_, _, p), (part, key, _) = r.choice(pairs)
    setattr(part, key, p)
    return "tied"


def _frozen(r: Random, module: nn.Module) -> str:
    parameters = list(module.parameters())
    for p in r.sample(parameters, r.randint(1, max(1, len(parameters) - 1))):
        p.requires_grad_(False)
    r.choice(parameters).requires_grad_(True)
    return "frozen"


def _evaluating(r: Random, module: nn.Module) -> str:
    part = r.choice([module, module, *module.modules()])
    part.eval()
    return f"eval {type(part).__name__}"


def _unused(r: Random, module: nn.Module) -> str:
    r.choice(list(module.modules())).register_parameter("unused", nn.Parameter(torch.ones(2)))
    return "unused"


def _parametrized(r: Random, module: nn.Module) -> str:
    parts = [part for part in module.modules() if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d)]
    parts = [part for part in parts if type(part) in (nn.Linear, nn.Conv1d, nn.Conv2d) and part.weight.ndim > 1]
    if not parts:
        return ""
    wraps: list[Any] = [parametrizations.weight_norm, parametrizations.spectral_norm]
    part, wrap = r.choice(parts), r.choice(wraps)
    if "weight" not in part._parameters:
        return ""
    with torch.enable_grad():
        wrap(part)
    return str(wrap.__name__)


def _has_grad(r: Random, module: nn.Module) -> str:
    """Set the attribute `grad` of a parameter, which `meta_gradient` must not change."""
    p = r.choice(list(module.parameters()))
    p.grad = torch.ones_like(p, dtype=p.dtype)
    return "grad"


_CHANGES: list[Callable[[Random, nn.Module], str]] = [
    _hooked, _hooked, _hooked, _tied, _tied, _frozen, _evaluating, _evaluating, _unused, _parametrized, _parametrized,
    _gradient_hook, _has_grad,
]  # fmt: skip
