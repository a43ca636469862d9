"""Meta-steps in JAX for the benchmark. A complete meta-step, including Adam, is compiled by one `jax.jit`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.benchmarks.side import Make, Side, UnavailableError
from tests.benchmarks.works import Work

INSTALL_HINT = "JAX is left out because it cannot be imported: `pip install jax` into this environment."

Arrays = dict[str, Any]
"""Dictionary that maps the names of the model's parameters to JAX arrays."""

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Hyperparameters of Adam: the defaults of torch.optim.Adam and optax.adam."""


def jax_side(*, unrolled: bool) -> Make:
    """Return a function that prepares the meta-steps of MAML or FOMAML in JAX.

    Args:
        unrolled: whether to unroll the loop over tasks into one graph. Otherwise, tasks are vectorised by jax.vmap,
            which creates grouped convolutions that XLA computes slowly on a CPU.
    """

    def make(work: Work) -> Side:
        try:
            import jax  # type: ignore[import-not-found]
        except ImportError as error:
            raise UnavailableError(INSTALL_HINT) from error
        jax.config.update("jax_platforms", "cpu")
        exact = work.episodes.support_x.dtype == torch.float64
        with jax.enable_x64(True) if exact else nullcontext():
            update = jax.jit(_meta_step(jax, work, unrolled), donate_argnums=0)
            given = jax.device_put(_given(work))
            state = jax.device_put(_start(work.model))

        def step() -> None:
            nonlocal state
            state, _ = jax.block_until_ready(update(state, given))

        def exact_step() -> None:
            with jax.enable_x64(True):
                step()

        def theta() -> dict[str, Tensor]:
            arrays = {name: np.array(p) for name, p in state[0].items()}
            return {name: torch.from_numpy(_channels_first(p)) for name, p in arrays.items()}

        # JAX has its own threads, which must not compete with those of torch.
        return Side("JAX, tasks unrolled" if unrolled else "JAX", exact_step if exact else step, theta, threads=1)

    return make


def _meta_step(jax: Any, work: Work, unrolled: bool) -> Callable[[Any, Any], Any]:
    jnp = jax.numpy
    options = work.algorithm
    forward = _forward(jax, work.model)

    def loss(params: Arrays, x: Any, y: Any) -> Any:
        predicted = forward(params, x)
        if not work.settings.is_classification:
            return jnp.mean((predicted - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(predicted), y[:, None], axis=1))

    def task_loss(params: Arrays, support_x: Any, support_y: Any, query_x: Any, query_y: Any) -> Any:
        for _ in range(options.inner_steps):
            gradients = jax.grad(loss)(params, support_x, support_y)
            if work.first_order:
                gradients = jax.lax.stop_gradient(gradients)
            params = jax.tree.map(lambda p, g: p - options.inner_lr * g, params, gradients)
        return loss(params, query_x, query_y)

    def meta_loss(params: Arrays, given: Any) -> Any:
        if unrolled:
            return sum(task_loss(params, *(g[t] for g in given)) for t in range(len(given[0]))) / len(given[0])
        return jnp.mean(jax.vmap(task_loss, in_axes=(None, 0, 0, 0, 0))(params, *given))

    def update(state: Any, given: Any) -> Any:
        params, first, second, steps = state
        seen, g = jax.value_and_grad(meta_loss)(params, given)
        steps = steps + 1
        first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, g)
        second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, g)
        rate, scale = options.outer_lr / (1 - BETA1**steps), 1 / (1 - BETA2**steps)
        moved = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v * scale) + EPSILON), params, first, second)
        return (moved, first, second, steps), seen

    return update


def _forward(jax: Any, model: nn.Module) -> Callable[[Arrays, Any], Any]:
    """Return a JAX function that computes the network `model`.

    Images are in channels-last order, which XLA computes faster on a CPU.
    """
    jnp, layers = jax.numpy, list(model.named_children())

    def forward(params: Arrays, x: Any) -> Any:
        for name, layer in layers:
            match layer:
                case nn.Linear():
                    x = x @ params[f"{name}.weight"].T + params[f"{name}.bias"]
                case nn.ReLU():
                    x = jax.nn.relu(x)
                case nn.Conv2d():
                    x = jax.lax.conv_general_dilated(
                        x, params[f"{name}.weight"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
                    )
                case nn.BatchNorm2d():
                    mean, variance = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
                    x = (x - mean) * jax.lax.rsqrt(variance + layer.eps)
                    x = x * params[f"{name}.weight"] + params[f"{name}.bias"]
                case nn.MaxPool2d():
                    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
                case nn.Flatten():
                    x = x.reshape(len(x), -1)  # only one pixel is left, so the flattened order is the same as in torch
                case _:
                    raise NotImplementedError(type(layer))
        return x

    return forward


def _given(work: Work) -> tuple[Any, ...]:
    e = work.episodes
    arrays = [t.numpy() for t in (e.support_x, e.support_y, e.query_x, e.query_y)]
    return tuple(np.moveaxis(a, 2, -1) if a.ndim == 5 else a for a in arrays)


def _start(model: nn.Module) -> Any:
    params = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    params = {name: np.ascontiguousarray(p.transpose(2, 3, 1, 0)) if p.ndim == 4 else p for name, p in params.items()}
    moments = [{name: np.zeros_like(p) for name, p in params.items()} for _ in range(2)]
    return params, *moments, np.zeros((), next(iter(params.values())).dtype)


def _channels_first(p: Any) -> Any:
    return np.ascontiguousarray(p.transpose(3, 2, 0, 1)) if p.ndim == 4 else p
