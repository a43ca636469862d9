"""Comparison of the engines with plain autograd on modules and losses that break assumptions of fast gradient code.

The modules share layers, keep state, draw random numbers or branch on their data. The losses broadcast or ignore
targets. An engine must either agree with plain autograd, or refuse the module and give a reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.utils import parametrizations

from metatui.learning.checks.comparison import AGREEMENT, relative_error
from metatui.learning.checks.plain_autograd import plain_meta_gradient
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.any_module.meta_gradient import meta_gradient
from metatui.learning.engines.registry import ENGINES
from metatui.learning.optim.inner import Params
from metatui.learning.optim.losses import LossFn
from metatui.utils.errors import BadInput

EngineChoice = Literal["auto", "loop", "native", "batched", "unfolded", "higher"]
Algorithm = Literal["maml", "fomaml"]
CHOICES: tuple[EngineChoice, ...] = ("auto", *ENGINES)
ENGINES_BY_ALGORITHM: tuple[tuple[Algorithm, tuple[EngineChoice, ...]], ...] = (
    ("maml", CHOICES),
    ("fomaml", ("auto", "loop", "batched")),
)

TASKS, SUPPORT, QUERY = 2, 4, 3
LEARNING_RATE, STEPS = 0.05, 2

POINTS, SEQUENCES, IMAGES = (3,), (3, 3), (2, 6, 6)
"""Shape of one example of each kind: [D], [L, D] and [C, H, W]."""


@dataclass(frozen=True)
class EdgeCase:
    """A module, its loss and the shape of its examples."""

    name: str
    module: Callable[[], nn.Module]
    inputs: tuple[int, ...] = POINTS
    loss: LossFn = F.mse_loss
    targets: Callable[[int], Tensor] = lambda n: torch.randn(n, 2)
    """Function that creates targets [n, ...] for n examples."""
    tokens: int = 0
    """Number of different tokens if the inputs are token indices; 0 if they are real numbers."""


@dataclass(frozen=True)
class EdgeCaseCheck:
    """Comparison of one engine with plain autograd on one module. `reason` explains a refusal or a failure."""

    name: str
    algorithm: Algorithm
    engine: EngineChoice
    outcome: Literal["agrees", "refused", "wrong", "error"]
    relative_error: float | None
    reason: str

    @property
    def ok(self) -> bool:
        """True if the engine agrees with plain autograd, or refuses the module and gives a reason."""
        return self.outcome in ("agrees", "refused")


class Lambda(nn.Module):
    """A module whose forward pass is a given function of the module and its input."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **parts: object) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


class _StraightThrough(Function):
    """Rounding with the derivative of the identity (Bengio, Léonard and Courville 2013)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g


def round_straight_through(x: Tensor) -> Tensor:
    """Round `x` to whole numbers. The derivative is that of the identity."""
    rounded: Tensor = _StraightThrough.apply(x)  # type: ignore[no-untyped-call]
    return rounded


def _head(*layers: nn.Module, width: int = 3) -> nn.Sequential:
    return nn.Sequential(*layers, nn.Linear(width, 2))


def _block(*, track: bool = False) -> nn.Sequential:
    norm = nn.BatchNorm2d(4, track_running_stats=track)
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), norm, nn.ReLU(), nn.MaxPool2d(2))


def _conv_net(*layers: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, 2))


def _perceptron() -> nn.Sequential:
    return _head(nn.Linear(3, 3), nn.Tanh())


def _one_activation_twice() -> nn.Module:
    tanh = nn.Tanh()
    return _head(nn.Linear(3, 3), tanh, nn.Linear(3, 3), tanh)


def _one_layer_twice() -> nn.Module:
    linear = nn.Linear(3, 3)
    return _head(linear, nn.Tanh(), linear, nn.Tanh())


def _tied_weights() -> nn.Module:
    model = _head(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh())
    model[2].weight = model[0].weight
    return model


def _hooked(model: nn.Sequential, layer: int) -> nn.Module:
    model[layer].register_forward_hook(lambda module, inputs, output: 2 * output)
    return model


def _pre_hooked() -> nn.Module:
    model = _perceptron()
    model.register_forward_pre_hook(lambda module, inputs: (0.5 * inputs[0],))
    return model


def _halve_gradient(module: nn.Module, inputs: Any, outputs: Any) -> Any:
    return (0.5 * inputs[0],)


def _backward_hooked() -> nn.Module:
    model = _perceptron()
    model[1].register_full_backward_hook(_halve_gradient)
    return model


def _frozen(model: nn.Sequential) -> nn.Module:
    model[0].requires_grad_(False)
    return model


def _read_inside_block(m: Any, x: Tensor) -> Tensor:
    conv, norm, relu, pool = m.block
    y = norm(conv(x))
    out: Tensor = m.last(pool(relu(y)).flatten(1)) + m.skip(y.mean((2, 3)))
    return out


def _running_mean(m: Any, x: Tensor) -> Tensor:
    m.mean = 0.9 * m.mean + 0.1 * x.detach().mean(0)
    out: Tensor = m.last(x - m.mean)
    return out


def _counted(m: Any, x: Tensor) -> Tensor:
    m.calls += 1
    out: Tensor = m.last(x) * m.calls
    return out


def _halved_while_large(m: Any, x: Tensor) -> Tensor:
    while float(x.abs().max()) > 1:
        x = x / 2
    out: Tensor = m.last(x)
    return out


def _cell_in_loop(m: Any, x: Tensor) -> Tensor:
    h = x.new_zeros(len(x), 3)
    for step in x.unbind(1):
        h = m.cell(step, h)
    out: Tensor = m.last(h)
    return out


def _ignored(n: int) -> Tensor:
    return torch.tensor([1, -100, 0, 1])[:n]


def _branching_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    errors = (predictions - targets).abs()
    return errors.mean() if errors.max().item() > 2 else errors.square().mean()


EDGE_CASES: tuple[EdgeCase, ...] = (
    # Sharing
    EdgeCase("shared activation", _one_activation_twice),
    EdgeCase("shared linear layer", _one_layer_twice),
    EdgeCase("tied weights", _tied_weights),
    EdgeCase(
        "shared transposed weight",
        lambda: Lambda(lambda m, x: m.last(F.linear(m.first(x), m.first.weight.t())), first=nn.Linear(3, 4),
                       last=nn.Linear(3, 2)),
    ),
    # Hooks, and layers that are read from elsewhere
    EdgeCase("forward hook on a linear layer", lambda: _hooked(_perceptron(), 0)),
    EdgeCase("forward hook on a convolution", lambda: _hooked(_conv_net(nn.Conv2d(2, 3, 3), width=48), 0), IMAGES),
    EdgeCase("forward hook on a norm layer in a block", lambda: _hooked(_conv_net(*_block(), width=36), 1), IMAGES),
    EdgeCase("forward pre-hook on a container", _pre_hooked),
    EdgeCase("backward hook", _backward_hooked),
    EdgeCase(
        "skip connection from inside a block",
        lambda: Lambda(_read_inside_block, block=_block(), last=nn.Linear(36, 2), skip=nn.Linear(4, 2)), IMAGES,
    ),
    EdgeCase(
        "convolution with an attribute that the model reads",
        lambda: Lambda(lambda m, x: m.last(m.conv(x).flatten(1)) * m.conv.stride[0], conv=nn.Conv2d(2, 3, 3, stride=2),
                       last=nn.Linear(12, 2)), IMAGES,
    ),
    EdgeCase("skip connection", lambda: Lambda(lambda m, x: m.last(x + torch.tanh(m.first(x))), first=nn.Linear(3, 3),
                                               last=nn.Linear(3, 2))),
    # Convolutions and memory
    EdgeCase(
        "view after a convolution",
        lambda: Lambda(lambda m, x: m.last(torch.relu(m.conv(x)).view(len(x), -1)), conv=nn.Conv2d(2, 3, 3),
                       last=nn.Linear(48, 2)), IMAGES,
    ),
    EdgeCase("group norm after a frozen convolution",
             lambda: _frozen(_conv_net(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), width=64)), IMAGES),
    EdgeCase("grouped, dilated, circular convolution",
             lambda: _conv_net(nn.Conv2d(2, 4, 3, groups=2, dilation=2, padding=1, padding_mode="circular"), width=64),
             IMAGES),
    EdgeCase("transposed convolution", lambda: _conv_net(nn.ConvTranspose2d(2, 1, 2, stride=2), width=144), IMAGES),
    EdgeCase("in-place activation", lambda: _conv_net(nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), width=48), IMAGES),
    # Norms
    EdgeCase("batch norm with running statistics", lambda: _conv_net(*_block(track=True), width=36), IMAGES),
    EdgeCase("batch norm in evaluation mode", lambda: _conv_net(*_block(track=True), width=36).eval(), IMAGES),
    EdgeCase("instance norm with running statistics",
             lambda: _conv_net(nn.InstanceNorm2d(2, affine=True, track_running_stats=True), width=72), IMAGES),
    EdgeCase("layer norm", lambda: _head(nn.Linear(3, 3), nn.LayerNorm(3))),
    EdgeCase("weight norm", lambda: _head(parametrizations.weight_norm(nn.Linear(3, 3)))),
    EdgeCase("spectral norm", lambda: _head(parametrizations.spectral_norm(nn.Linear(3, 3)))),
    # State
    EdgeCase("buffer with a running mean", lambda: Lambda(_running_mean, mean=torch.zeros(3), last=nn.Linear(3, 2))),
    EdgeCase("call counter attribute", lambda: Lambda(_counted, calls=0, last=nn.Linear(3, 2))),
    EdgeCase("embedding with max_norm", lambda: _head(nn.Embedding(5, 2, max_norm=0.5), nn.Flatten(), width=6),
             tokens=5),
    EdgeCase("embedding with padding_idx", lambda: _head(nn.Embedding(5, 2, padding_idx=0), nn.Flatten(), width=6),
             tokens=5),
    # Randomness
    EdgeCase("dropout", lambda: _head(nn.Linear(3, 3), nn.Dropout(0.4))),
    # Sequences
    EdgeCase("LSTM", lambda: Lambda(lambda m, x: m.last(m.cells(x)[0][:, -1]), cells=nn.LSTM(3, 3, batch_first=True),
                                    last=nn.Linear(3, 2)), SEQUENCES),
    EdgeCase("recurrent cell in a loop", lambda: Lambda(_cell_in_loop, cell=nn.GRUCell(3, 3), last=nn.Linear(3, 2)),
             SEQUENCES),
    EdgeCase("multi-head attention",
             lambda: Lambda(lambda m, x: m.last(m.attention(x, x, x)[0].mean(1)),
                            attention=nn.MultiheadAttention(3, 1, batch_first=True), last=nn.Linear(3, 2)), SEQUENCES),
    # Control flow
    EdgeCase("branch on a value",
             lambda: Lambda(lambda m, x: m.last(x) if x.mean().item() > 0 else m.last(2 * x), last=nn.Linear(3, 2))),
    EdgeCase("data-dependent loop", lambda: Lambda(_halved_while_large, last=nn.Linear(3, 2))),
    EdgeCase("custom autograd function",
             lambda: Lambda(lambda m, x: m.last(round_straight_through(m.first(x))), first=nn.Linear(3, 3),
                            last=nn.Linear(3, 2))),
    # Parameters
    EdgeCase("frozen layer", lambda: _frozen(_perceptron())),
    EdgeCase("unused parameter",
             lambda: Lambda(lambda m, x: m.last(x), last=nn.Linear(3, 2), unused=nn.Parameter(torch.ones(2)))),
    # Losses
    EdgeCase("squared error with broadcast targets", lambda: nn.Sequential(nn.Linear(3, 1)),
             targets=lambda n: torch.randn(n)),
    EdgeCase("cross-entropy with ignored targets", _perceptron, loss=F.cross_entropy, targets=_ignored),
    EdgeCase("cross-entropy with class probabilities", _perceptron, loss=F.cross_entropy,
             targets=lambda n: torch.rand(n, 2).softmax(1)),
    EdgeCase("cross-entropy per pixel", lambda: nn.Sequential(nn.Conv2d(2, 3, 1)), IMAGES, F.cross_entropy,
             lambda n: torch.arange(36 * n).view(n, 6, 6) % 3),
    EdgeCase("cross-entropy with weights and label smoothing", _perceptron,
             loss=partial(F.cross_entropy, weight=torch.tensor([1.0, 3.0], dtype=torch.float64), label_smoothing=0.1),
             targets=lambda n: torch.arange(n) % 2),
    EdgeCase("data-dependent loss", _perceptron, loss=_branching_loss),
)  # fmt: skip


def run_edge_case_checks() -> Iterator[EdgeCaseCheck]:
    """Compare every engine with plain autograd on every module, in float64 on the CPU."""
    for case in EDGE_CASES:
        yield from check_edge_case(case)


def check_edge_case(case: EdgeCase) -> Iterator[EdgeCaseCheck]:
    """Compare the engines in `ENGINES_BY_ALGORITHM` with plain autograd on one module."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = case.module().double()
        episodes = _episodes(case)
        for algorithm, engines in ENGINES_BY_ALGORITHM:
            torch.manual_seed(0)
            with warnings.catch_warnings():  # PyTorch warns of the losses that broadcast on purpose
                warnings.simplefilter("ignore")
                _, expected = plain_meta_gradient(
                    model, case.loss, episodes, LEARNING_RATE, STEPS, first_order=algorithm == "fomaml"
                )
            for engine in engines:
                torch.manual_seed(0)
                yield _check(case, model, episodes, algorithm, engine, expected)


def _episodes(case: EdgeCase) -> Episodes:
    def examples(n: int) -> Tensor:
        if case.tokens:
            return torch.randint(0, case.tokens, (TASKS, n, *case.inputs))
        return torch.randn(TASKS, n, *case.inputs, dtype=torch.float64)

    def targets(n: int) -> Tensor:
        stacked = torch.stack([case.targets(n) for _ in range(TASKS)])
        return stacked.double() if stacked.is_floating_point() else stacked

    return Episodes(examples(SUPPORT), targets(SUPPORT), examples(QUERY), targets(QUERY))


def _check(
    case: EdgeCase, model: nn.Module, episodes: Episodes, algorithm: Algorithm, engine: EngineChoice, expected: Params
) -> EdgeCaseCheck:
    result = partial(EdgeCaseCheck, case.name, algorithm, engine)
    try:
        with warnings.catch_warnings():  # `auto` warns when it falls back to another engine
            warnings.simplefilter("ignore")
            _, gradients = meta_gradient(
                model, case.loss, episodes.support_x, episodes.support_y, episodes.query_x, episodes.query_y,
                inner_lr=LEARNING_RATE, inner_steps=STEPS, first_order=algorithm == "fomaml", engine=engine,
            )  # fmt: skip
    except BadInput as refusal:
        return result("refused", None, str(refusal))
    except Exception as error:  # a bug of the kind that this check looks for
        return result("error", None, f"{type(error).__name__}: {error}")
    difference = relative_error(gradients, expected)
    return result("agrees" if difference <= AGREEMENT else "wrong", difference, "")
