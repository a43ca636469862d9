"""Layers like those that users write, with state, random numbers, control flow or shared parameters."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Scale(nn.Module):
    """Multiplies its input by a scalar parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(1.3))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


class TransposedReuse(nn.Module):
    """Uses the same weight twice, the second time transposed, like an autoencoder with tied weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(self.encoder(x)), self.encoder.weight.t())


class WeightReader(nn.Module):
    """Calls a layer, and also reads the layer's attribute `stride` and its weight directly."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        stride = getattr(self.layer, "stride", (1,))
        first = stride[0] if isinstance(stride, tuple) else stride
        out: Tensor = self.layer(x)
        scaled: Tensor = out * float(first) + 0.1 * self.layer.weight.square().mean()
        return scaled


class Skip(nn.Module):
    """Adds the input of a layer to its output, or the mean of the input if the shapes differ."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out + x if out.shape == x.shape else out + x.mean()


class Tap(nn.Module):
    """Calls the layers of a Sequential one by one, and adds the mean of an intermediate result to the output."""

    def __init__(self, body: nn.Sequential, tapped: int) -> None:
        super().__init__()
        self.body, self.tapped = body, tapped

    def forward(self, x: Tensor) -> Tensor:
        inside = x
        for i, layer in enumerate(self.body):
            x = layer(x)
            if i == self.tapped:
                inside = x
        return x + inside.flatten(1).mean(1).view(-1, *[1] * (x.ndim - 1))


class LayerList(nn.Module):
    """Calls the layers of a ModuleList one after the other."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class LayerDict(nn.Module):
    """Calls the layers of a ModuleDict one after the other, by name."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({f"layer{i}": layer for i, layer in enumerate(layers)})

    def forward(self, x: Tensor) -> Tensor:
        for name in list(self.layers):
            x = self.layers[name](x)
        return x


class Twice(nn.Module):
    """Calls the same layer twice, and adds the two outputs."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        once = torch.tanh(self.layer(x))
        again: Tensor = self.layer(once if once.shape == x.shape else 0.5 * x)
        return once + again


class Parallel(nn.Module):
    """Returns the mean of several branches, whose outputs have the same shape."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([branch(x) for branch in self.branches]).mean(0)


class Checkpointed(nn.Module):
    """Applies activation checkpointing to a layer, which is recomputed in the backward pass."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = checkpoint(self.layer, x, use_reentrant=False)
        return out


class Centre(nn.Module):
    """Subtracts a running mean of its inputs, which is a buffer that each call replaces with a new tensor."""

    mean: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return x - self.mean


class CentreInPlace(nn.Module):
    """Subtracts a running mean of its inputs, which is a non-persistent buffer that each call updates in place."""

    mean: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.mean.mul_(0.8).add_(x.mean(0), alpha=0.2)
        return x - self.mean.clone()


class GraphThroughBuffer(nn.Module):
    """Keeps a buffer whose autograd graph extends from one call to the next."""

    trace: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full(shape, 0.8))
        self.register_buffer("trace", torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        self.trace = 0.5 * self.trace + (self.gain * x).mean(0)
        return self.gain * x + self.trace


class CountingBuffer(nn.Module):
    """Scales its input by a factor that grows with the number of calls, which is counted in a buffer."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + 0.1 * self.calls)


class Counter(nn.Module):
    """Scales its input by a factor that grows with the number of calls, which is counted in a Python attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + 0.1 * self.calls)


class History(nn.Module):
    """Keeps the means of its last two inputs in a list, and adds the older mean to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().mean())
        del self.seen[:-2]
        return x + self.seen[0]


class Normaliser(nn.Module):
    """Subtracts the mean of the first batch from this batch and all later ones."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = False
        self.mean: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        if not self.ready:
            self.mean, self.ready = x.detach().mean(), True
        return x - self.mean


class ClampedWeight(nn.Module):
    """Clamps its parameter in place in the forward pass."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.clamp_(-0.5, 0.5)
        return x * (1 + self.weight)


class Branch(nn.Module):
    """Returns its input if the mean of the input is positive, and otherwise doubles it."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.mean().item() > 0 else 2 * x


class DataLoop(nn.Module):
    """Halves its input a number of times that depends on the data."""

    def forward(self, x: Tensor) -> Tensor:
        times = 0
        while float(x.detach().abs().max()) > 1 and times < 4:
            x, times = 0.5 * x, times + 1
        return x


class MaskedSquare(nn.Module):
    """Squares the entries above a threshold, so that the number of squared entries depends on the data."""

    def forward(self, x: Tensor) -> Tensor:
        out = x.clone()
        out[x > 0.3] = x[x > 0.3].square()
        return out


class AddSorted(nn.Module):
    """Adds the sorted entries of each example, multiplied by 0.1, to the example."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * x.flatten(1).sort(1).values.view_as(x)


class AcrossExamples(nn.Module):
    """Subtracts the mean over the batch and divides by the batch size, so that outputs depend on all examples."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0, keepdim=True)) / float(len(x))


class Noise(nn.Module):
    """Adds Gaussian noise, both in training mode and in evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn_like(x)


class FunctionalDropout(nn.Module):
    """Applies dropout with the function `F.dropout` instead of a module."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.3, training=True)


class PythonRandom(nn.Module):
    """Scales its input or not, depending on a random number from Python's generator instead of torch's."""

    def forward(self, x: Tensor) -> Tensor:
        return x if random.random() < 0.5 else 1.5 * x


class InPlace(nn.Module):
    """Changes an intermediate tensor in place."""

    def forward(self, x: Tensor) -> Tensor:
        out = 1.0 * x
        out += 1
        out[:, 0] *= 2
        return torch.sin(out)


class _Cube(torch.autograd.Function):
    """Computes x³ / 10, with a hand-written derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3 / 10

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return g * 3 * x**2 / 10


class _Straight(torch.autograd.Function):
    """Rounds to multiples of 1/4, but has the derivative of the identity (straight-through estimator)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (4 * x).round() / 4

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g


class Custom(nn.Module):
    """Applies a custom autograd function."""

    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.function.apply(x)  # type: ignore[no-untyped-call]
        return out


def custom(r: random.Random) -> Custom:
    """Return a module that applies one of the custom autograd functions, which is chosen at random."""
    return Custom(r.choice([_Cube, _Straight]))


class Recurrent(nn.Module):
    """Applies a recurrent layer to sequences [B, L, D], and returns all outputs or only the last one."""

    def __init__(self, cells: nn.Module, last: bool) -> None:
        super().__init__()
        self.cells, self.last = cells, last

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cells(x)[0]
        return out[:, -1] if self.last else out


class CellLoop(nn.Module):
    """Applies a recurrent cell to each step of sequences [B, L, D], or twice to the same inputs [B, D]."""

    def __init__(self, cell: nn.Module, width: int) -> None:
        super().__init__()
        self.cell, self.width = cell, width

    def forward(self, x: Tensor) -> Tensor:
        steps = x.unbind(1) if x.ndim == 3 else (x, x)
        h: Any = x.new_zeros(len(x), self.width)
        state = (h, h) if isinstance(self.cell, nn.LSTMCell) else h
        for step in steps:
            state = self.cell(step, state)
        out: Tensor = state[0] if isinstance(state, tuple) else state
        return out


class SelfAttention(nn.Module):
    """Applies `nn.MultiheadAttention` to sequences [B, L, D] as queries, keys and values."""

    def __init__(self, width: int, weights: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 1, batch_first=True)
        self.weights = weights

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.attention(x, x, x, need_weights=self.weights)[0]
        return out


class DotAttention(nn.Module):
    """Computes scaled dot-product attention with matrix products and a softmax."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        out: Tensor = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1) @ v
        return out


class ViewFlatten(nn.Module):
    """Flattens each example with `view`, which fails if the memory layout of the input does not permit it."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), -1)


class PlainView(nn.Module):
    """Merges the last axes with `view`, reverses the order along the second axis, and restores the shape."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), x.size(1), -1).flip(1).view(x.shape)


class ChannelsLast(nn.Module):
    """Converts its input to the memory format `torch.channels_last`."""

    def forward(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last)


class Mean(nn.Module):
    """Averages its input over all axes after the second."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(2)


class HeadTwice(nn.Module):
    """Returns a weighted difference of two heads of one body. One of the heads passes no gradient to the body."""

    def __init__(self, body: nn.Module, width: int, outputs: int) -> None:
        super().__init__()
        self.body = body
        self.one, self.two = nn.Linear(width, outputs), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        out: Tensor = self.one(h) - 0.3 * self.two(h.detach())
        return out
