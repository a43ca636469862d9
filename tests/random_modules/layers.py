"""Hand-written layers like those of users: with state, randomness, control flow and sharing."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Scale(nn.Module):
    """Multiplies by a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(1.3))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


class TransposedReuse(nn.Module):
    """Uses one weight twice, the second time transposed, like an autoencoder with tied weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(self.encoder(x)), self.encoder.weight.t())


class WeightReader(nn.Module):
    """Reads the attributes and the weight of a layer that it also calls."""

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
    """Adds the input of a layer to its output if the shapes agree."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out + x if out.shape == x.shape else out + x.mean()


class Tap(nn.Module):
    """Runs a Sequential layer by layer and uses an inner result, like a skip connection."""

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


class Written(nn.Module):
    """Calls its layers in its own loop."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Named(nn.Module):
    """Calls its layers by name, each from a ModuleDict."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({f"layer{i}": layer for i, layer in enumerate(layers)})

    def forward(self, x: Tensor) -> Tensor:
        for name in list(self.layers):
            x = self.layers[name](x)
        return x


class Twice(nn.Module):
    """Calls one layer twice."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        once = torch.tanh(self.layer(x))
        again: Tensor = self.layer(once if once.shape == x.shape else 0.5 * x)
        return once + again


class Parallel(nn.Module):
    """The mean of several branches of one shape."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([branch(x) for branch in self.branches]).mean(0)


class Checkpointed(nn.Module):
    """Recomputes a layer in the backward pass."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = checkpoint(self.layer, x, use_reentrant=False)
        return out


class Centre(nn.Module):
    """Subtracts a running mean of its inputs, a buffer that it replaces."""

    mean: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return x - self.mean


class CentreInPlace(nn.Module):
    """Subtracts a running mean of its inputs, a buffer that it writes in place and does not save."""

    mean: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.mean.mul_(0.8).add_(x.mean(0), alpha=0.2)
        return x - self.mean.clone()


class GraphThroughBuffer(nn.Module):
    """Keeps a buffer that carries a graph from one call to the next."""

    trace: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full(shape, 0.8))
        self.register_buffer("trace", torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        self.trace = 0.5 * self.trace + (self.gain * x).mean(0)
        return self.gain * x + self.trace


class CountingBuffer(nn.Module):
    """Scales by the number of calls, which a buffer counts."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + 0.1 * self.calls)


class Counter(nn.Module):
    """Scales by the number of calls, which a Python attribute counts."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + 0.1 * self.calls)


class History(nn.Module):
    """Keeps the means of its inputs in a list and adds the oldest of the last two."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().mean())
        del self.seen[:-2]
        return x + self.seen[0]


class Normaliser(nn.Module):
    """Takes the statistics of its first batch and keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = False
        self.mean: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        if not self.ready:
            self.mean, self.ready = x.detach().mean(), True
        return x - self.mean


class ClampedWeight(nn.Module):
    """Writes its own parameter in the forward pass."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.clamp_(-0.5, 0.5)
        return x * (1 + self.weight)


class Branch(nn.Module):
    """Takes another path if the mean is positive."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.mean().item() > 0 else 2 * x


class DataLoop(nn.Module):
    """Halves its input a number of times that depends on the data."""

    def forward(self, x: Tensor) -> Tensor:
        times = 0
        while float(x.detach().abs().max()) > 1 and times < 4:
            x, times = 0.5 * x, times + 1
        return x


class Selected(nn.Module):
    """Changes the entries selected by a mask, whose number depends on the data."""

    def forward(self, x: Tensor) -> Tensor:
        out = x.clone()
        out[x > 0.3] = x[x > 0.3].square()
        return out


class Ranked(nn.Module):
    """Adds the sorted entries of each example."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * x.flatten(1).sort(1).values.view_as(x)


class AcrossExamples(nn.Module):
    """Subtracts the mean over examples and uses their number, like a transductive model."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0, keepdim=True)) / float(len(x))


class Noise(nn.Module):
    """Adds Gaussian noise, whether in training or in evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn_like(x)


class FunctionalDropout(nn.Module):
    """Applies dropout by a function call instead of a module."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.3, training=True)


class PythonRandom(nn.Module):
    """Draws from Python's own generator, like stochastic depth."""

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
    """x to x³ / 10, with a derivative written by hand."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3 / 10

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return g * 3 * x**2 / 10


class _Straight(torch.autograd.Function):
    """Rounds, with the derivative of the identity (the straight-through estimator)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (4 * x).round() / 4

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g


class Custom(nn.Module):
    """A custom autograd function."""

    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.function.apply(x)  # type: ignore[no-untyped-call]
        return out


def custom(r: random.Random) -> Custom:
    """Return one of the custom autograd functions."""
    return Custom(r.choice([_Cube, _Straight]))


class Recurrent(nn.Module):
    """A recurrent layer over a sequence [B, L, D] that returns all outputs or the last one."""

    def __init__(self, cells: nn.Module, last: bool) -> None:
        super().__init__()
        self.cells, self.last = cells, last

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cells(x)[0]
        return out[:, -1] if self.last else out


class CellLoop(nn.Module):
    """A recurrent cell in a loop over a sequence [B, L, D] or over the same input."""

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
    """Attention of a sequence [B, L, D] to itself."""

    def __init__(self, width: int, weights: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 1, batch_first=True)
        self.weights = weights

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.attention(x, x, x, need_weights=self.weights)[0]
        return out


class DotAttention(nn.Module):
    """Scaled dot-product attention written out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        out: Tensor = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1) @ v
        return out


class ViewFlatten(nn.Module):
    """`x.view(len(x), -1)`, which needs contiguous memory."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), -1)


class PlainView(nn.Module):
    """Splits an axis by a view and joins it again."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), x.size(1), -1).flip(1).view(x.shape)


class ChannelsLast(nn.Module):
    """Converts to channels_last memory format."""

    def forward(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last)


class Mean(nn.Module):
    """The mean over the axes after the second."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(2)


class Squeezed(nn.Module):
    """[B, 1] to [B]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze(-1)


class HeadTwice(nn.Module):
    """A body with two heads whose difference is the output; one head passes no gradient to the body."""

    def __init__(self, body: nn.Module, width: int, outputs: int) -> None:
        super().__init__()
        self.body = body
        self.one, self.two = nn.Linear(width, outputs), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        out: Tensor = self.one(h) - 0.3 * self.two(h.detach())
        return out
