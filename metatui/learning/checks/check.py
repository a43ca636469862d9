"""Verification of all gradients in float64, on the user's own machine.

Every algorithm and engine is compared with central finite differences, which do not depend on autograd, and with the
`higher` library. Second-order gradients must also differ from first-order ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metatui.learning.checks.algorithms import check_algorithms, check_pretrained
from metatui.learning.checks.comparison import (
    AGREEMENT,
    DIFFERENCES,
    STEP,
    Check,
    comparison,
    directional_error,
    relative_error,
)
from metatui.learning.data.episodes import Episodes
from metatui.learning.data.random import keys, normal, uniform
from metatui.learning.data.sinusoid import SinusoidSource
from metatui.learning.engines.base import Engine, meta_parameters
from metatui.learning.engines.registry import ENGINES, make_engine
from metatui.learning.hardware.devices import resolve
from metatui.learning.models.conv4 import conv4
from metatui.learning.models.mlp import mlp
from metatui.learning.optim.inner import ADAM_BETA2, InnerLoop, Params
from metatui.learning.optim.losses import CROSS_ENTROPY, MEAN_SQUARED_ERROR, Loss
from metatui.utils.errors import BadInput


@dataclass(frozen=True)
class Case:
    """A small problem on which engines are compared."""

    name: str
    model: nn.Module
    loss: Loss
    episodes: Episodes
    inner: InnerLoop


def run_checks(device: str = "cpu") -> Iterator[Check]:
    """Compare all algorithms and engines with their references, and yield each result as soon as it is available.

    On a GPU, networks of full size are checked as well, because GPU libraries select kernels by size.

    Args:
        device: name of the device, as in the setting `compute.device`.

    Raises:
        BadInput: if the device is not available or does not support float64.
    """
    where = torch.device(resolve(device).name)
    if where.type == "mps":
        raise BadInput("the device is mps, which does not support float64: use cpu or cuda")
    for case in cases(where):
        yield from compare(case)
    name = where.type if where.index is None else str(where)
    yield from check_algorithms(name)
    yield from check_pretrained(name)
    if where.type != "cpu":
        for case in full_size_cases(where):
            yield from compare(case, full_size=True)


def compare(case: Case, *, full_size: bool = False) -> Iterator[Check]:
    """Compare every algorithm and engine with finite differences, and with `higher` or a torch optimiser.

    With `full_size`, comparisons with finite differences that would take too long are left out.
    """
    engines = _engines(case)
    for algorithm in ("maml", "fomaml"):
        yield from _meta_gradients(case, engines, algorithm)
    yield _second_order(case, engines)
    if not full_size:
        yield from _reptile(case, engines)
    yield from _reptile_adam(case, engines)
    yield from _adaptation(case, engines)


def _engines(case: Case) -> dict[str, Engine]:
    """Create all engines that support the device, keyed by name; `native` only supports the CPU."""
    on_cpu = case.episodes.support_x.device.type == "cpu"
    return {name: make_engine(name, case.model, case.loss) for name in ENGINES if on_cpu or name != "native"}


def cases(device: torch.device) -> list[Case]:
    """Create three cases: an MLP on sinusoids, and Conv-4 on images, once with max-pooling and once with strides.

    The norm layers are adapted as well.
    """
    waves = SinusoidSource().episodes("train", range(3), seed=0, shots=10, queries=10)
    problems = [Case("mlp", mlp((12, 12)), MEAN_SQUARED_ERROR, waves, InnerLoop(0.05, 3))]
    u = uniform(keys(0, "check/images", torch.arange(2)), 9 * 16 * 16).view(2, 9, 1, 16, 16)
    labels = torch.arange(3).repeat(2, 1)
    images = Episodes(u[:, :3], labels, u[:, 3:], labels.repeat_interleave(2, dim=1))
    for downsample in ("max_pool", "stride"):
        model = conv4(3, input_shape=(1, 16, 16), filters=4, downsample=downsample)
        problems.append(Case(f"conv4 {downsample}", model, CROSS_ENTROPY, images, InnerLoop(0.1, 2)))
    return [_prepare(case, device) for case in problems]


def full_size_cases(device: torch.device) -> Iterator[Case]:
    """Create two cases with Conv-4 networks of full size (64 filters), one at a time to save memory.

    There are so many query images that PyTorch uses its kernels for large inputs.
    """
    ways, queries, side = 5, 15, 28
    images = 2 * ways * (1 + queries)
    u = uniform(keys(0, "check/full-size", torch.arange(images)), side * side).view(2, -1, 1, side, side)
    labels = torch.arange(ways).repeat(2, 1)
    episodes = Episodes(u[:, :ways], labels, u[:, ways:], labels.repeat_interleave(queries, dim=1))
    for downsample in ("max_pool", "stride"):
        model = conv4(ways, input_shape=(1, side, side), filters=64, downsample=downsample)
        case = Case(f"conv4-64 {downsample}", model, CROSS_ENTROPY, episodes, InnerLoop(0.1, 2))
        yield _prepare(case, device)


def _prepare(case: Case, device: torch.device) -> Case:
    return replace(
        case,
        model=_randomised(case.model.to(device=device, dtype=torch.float64)),
        episodes=case.episodes.to(device, torch.float64),
    )


def _randomised(model: nn.Module) -> nn.Module:
    """Set all parameters to random values, because scales of 1 and biases of 0 could hide a wrong derivative."""
    with torch.no_grad():
        for i, (name, p) in enumerate(model.named_parameters()):
            noise = normal(keys(i, "check/model", torch.zeros(1, dtype=torch.int64)), p.numel()).view_as(p)
            value = noise.to(p) * (0.2 if p.ndim == 1 else p[0].numel() ** -0.5)
            p.copy_(value + (1.0 if p.ndim == 1 and name.endswith("weight") else 0.0))
    return model


def _meta_gradients(case: Case, engines: dict[str, Engine], algorithm: str) -> Iterator[Check]:
    first_order = algorithm == "fomaml"
    theta = meta_parameters(case.model)
    gradients = {
        name: engine.meta_gradient(theta, case.episodes, case.inner, first_order=first_order).gradients
        for name, engine in engines.items()
    }
    meta_loss = _first_order_loss(case, theta) if first_order else _meta_loss(case)
    for name in engines:
        error = directional_error(meta_loss, theta, gradients[name])
        yield comparison(f"{case.name}: meta-gradient", algorithm, name, "finite differences", error, DIFFERENCES)
    for name in ("loop", "batched"):
        error = relative_error(gradients[name], gradients["higher"])
        yield comparison(f"{case.name}: meta-gradient", algorithm, name, "higher", error, AGREEMENT)


def _second_order(case: Case, engines: dict[str, Engine]) -> Check:
    theta = meta_parameters(case.model)
    second, first = (
        engines["loop"].meta_gradient(theta, case.episodes, case.inner, first_order=order).gradients
        for order in (False, True)
    )
    error, least = relative_error(second, first), 1e-3
    name = f"{case.name}: second order differs from first order"
    return Check(name, "maml", "loop", "fomaml", error, least, error > least)


def _reptile(case: Case, engines: dict[str, Engine]) -> Iterator[Check]:
    theta = meta_parameters(case.model)
    changes = {name: _reptile_change(case, engine, theta, case.inner) for name, engine in engines.items()}
    expected = _reptile_by_differences(case, theta)
    for name, change in changes.items():
        error = relative_error(change, expected)
        yield comparison(
            f"{case.name}: parameter change in one step", "reptile", name, "finite differences", error, DIFFERENCES
        )
    for name in ("loop", "batched"):
        error = relative_error(changes[name], changes["higher"])
        yield comparison(f"{case.name}: parameter change in one step", "reptile", name, "higher", error, AGREEMENT)


def _reptile_change(case: Case, engine: Engine, theta: Params, inner: InnerLoop) -> Params:
    """Compute the mean parameter change over the tasks, (1/n) Σ_i (θ'_i - θ)."""
    *_, last = engine.adapt(theta, case.episodes.support_x, case.episodes.support_y, inner)
    return {name: last.params[name].mean(0) - p.detach() for name, p in theta.items()}


def _reptile_by_differences(case: Case, theta: Params) -> Params:
    """Compute the result of `_reptile_change`, but replace every inner gradient with finite differences."""
    total = {name: torch.zeros_like(p) for name, p in theta.items()}
    for t in range(len(case.episodes)):
        fast = {name: p.detach().clone() for name, p in theta.items()}
        for _ in range(case.inner.steps):
            gradients = _differences(case, fast, t)
            fast = {name: p - case.inner.lr * gradients[name] for name, p in fast.items()}
        for name, p in theta.items():
            total[name] += fast[name] - p.detach()
    return {name: change / len(case.episodes) for name, change in total.items()}


def _differences(case: Case, params: Params, t: int) -> Params:
    """Compute the support gradient of task `t` by finite differences.

    This evaluates the network twice for each parameter, in batches.
    """
    sizes = [p.numel() for p in params.values()]
    flat = torch.cat([p.flatten() for p in params.values()])
    moves = STEP * torch.eye(len(flat), dtype=flat.dtype, device=flat.device)

    def loss(vector: Tensor) -> Tensor:
        parts = zip(params, torch.split(vector, sizes), strict=True)
        moved = {name: part.view_as(params[name]) for name, part in parts}
        predicted = functional_call(case.model, moved, (case.episodes.support_x[t],))
        return case.loss.one(predicted, case.episodes.support_y[t])

    with torch.no_grad():
        up, down = (torch.vmap(loss, chunk_size=256)(flat + sign * moves) for sign in (1, -1))
    slopes = torch.split((up - down) / (2 * STEP), sizes)
    return {name: part.view_as(params[name]) for name, part in zip(params, slopes, strict=True)}


def _reptile_adam(case: Case, engines: dict[str, Engine]) -> Iterator[Check]:
    theta = meta_parameters(case.model)
    inner = replace(case.inner, optimizer="adam", lr=0.001)
    expected = {name: torch.zeros_like(p) for name, p in theta.items()}
    for t in range(len(case.episodes)):
        fast = {name: p.detach().clone().requires_grad_() for name, p in theta.items()}
        adam = torch.optim.Adam(fast.values(), lr=inner.lr, betas=(0.0, ADAM_BETA2))
        _descend(case, fast, adam, t, inner.steps)
        for name, p in theta.items():
            expected[name] += (fast[name] - p).detach() / len(case.episodes)
    for name in ("loop", "batched"):
        error = relative_error(_reptile_change(case, engines[name], theta, inner), expected)
        yield comparison(
            f"{case.name}: parameter change with inner Adam", "reptile", name, "torch.optim.Adam", error, AGREEMENT
        )


def _adaptation(case: Case, engines: dict[str, Engine]) -> Iterator[Check]:
    """Check the plain adaptation that `scratch`, `pretrained` and every evaluation use."""
    theta = meta_parameters(case.model)
    fast = {name: p.detach().clone().requires_grad_() for name, p in theta.items()}
    _descend(case, fast, torch.optim.SGD(fast.values(), lr=case.inner.lr), 0, case.inner.steps)
    expected = {name: p.detach() for name, p in fast.items()}
    for name, engine in engines.items():
        *_, last = engine.adapt(theta, case.episodes.support_x, case.episodes.support_y, case.inner)
        error = relative_error({key: p[0] for key, p in last.params.items()}, expected)
        yield comparison(f"{case.name}: adapted parameters", "scratch", name, "torch.optim.SGD", error, AGREEMENT)


def _descend(case: Case, fast: Params, optimizer: torch.optim.Optimizer, t: int, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        predicted = functional_call(case.model, fast, (case.episodes.support_x[t],))
        case.loss.one(predicted, case.episodes.support_y[t]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _meta_loss(case: Case) -> Callable[[Params], Tensor]:
    """Return a function that computes the meta-loss at θ from forward passes and inner gradients only."""
    engine = make_engine("loop", case.model, case.loss)

    def loss(theta: Params) -> Tensor:
        *_, last = engine.adapt(theta, case.episodes.support_x, case.episodes.support_y, case.inner)
        return case.loss.each(engine.outputs(last.params, case.episodes.query_x), case.episodes.query_y).mean()

    return loss


def _first_order_loss(case: Case, theta: Params) -> Callable[[Params], Tensor]:
    """Return a function that computes the query loss at θ, with the inner gradients held constant.

    If θ moves by a vector, the adapted parameters move by the same vector, so the derivative is the first-order
    meta-gradient.
    """
    engine = make_engine("loop", case.model, case.loss)
    *_, last = engine.adapt(theta, case.episodes.support_x, case.episodes.support_y, case.inner)

    def loss(moved: Params) -> Tensor:
        stack = {name: p + (moved[name] - theta[name]).detach() for name, p in last.params.items()}
        return case.loss.each(engine.outputs(stack, case.episodes.query_x), case.episodes.query_y).mean()

    return loss
