"""Isolation of the global torch settings of a computation from the settings of its caller.

A caller of the library may have changed the default dtype, autocast, grad mode or thread count. These must not affect
the results of a run, and a run must not change them. Only `TorchState` switches between the settings of the caller and
those of a run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial, wraps
from inspect import isgeneratorfunction
from typing import Any, ParamSpec, Self, TypeVar, cast

import torch

P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")


class TorchState:
    """A reusable context with the global torch settings of one computation. On exit, it restores the caller's settings.

    Settings that the computation changes (threads, precision) are saved at the end of the context and set again when
    the context is next entered. They belong to the process, so two threads cannot use different values at the same
    time.
    """

    def __init__(self) -> None:
        self._inside = {name: start for name, (_, _, start) in _SETTINGS.items() if start is not None}
        self._outside: dict[str, Any] = {}
        self._modes = ExitStack()

    def __enter__(self) -> Self:
        # Inference mode and the default device belong to the thread; inner code can only override them.
        if torch.is_inference_mode_enabled():
            self._modes.enter_context(cast(AbstractContextManager[object], torch.inference_mode(False)))
        if torch._C._len_torch_function_stack() and torch.get_default_device().type != "cpu":
            self._modes.enter_context(torch.device("cpu"))
        self._outside = _current()
        _apply(self._inside, self._outside)
        return self

    def __exit__(self, *error: object) -> None:
        self._inside = _current()
        _apply(self._outside, self._inside)
        self._modes.close()

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Restore the caller's settings temporarily, so that the caller's code can run with them."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()

    def steps(self, generator: Generator[Y, None, R]) -> Generator[Y, None, R]:
        """Iterate over `generator`, running its code inside this context and the caller's code outside of it."""
        step: Callable[[], Y] = partial(next, generator)
        while True:
            with self:
                try:
                    value = step()
                except StopIteration as finished:
                    return cast(R, finished.value)
            try:
                yield value
            except GeneratorExit:
                with self:
                    generator.close()
                raise
            except BaseException as error:
                step = partial(generator.throw, error)
            else:
                step = partial(next, generator)


def isolated(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function or a generator function to run in its own `TorchState`."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        state = TorchState()
        if isgeneratorfunction(function):
            return cast(R, state.steps(cast(Generator[Any, None, Any], function(*args, **kwargs))))
        with state:
            return function(*args, **kwargs)

    return wrapped


def _current() -> dict[str, Any]:
    return {name: getter() for name, (getter, *_) in _SETTINGS.items()}


def _apply(wanted: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Set the global torch settings whose values in `wanted` differ from those in `present`.

    None stands for a value that could not be read.
    """
    for name, value in wanted.items():
        if value != present[name] and value is not None:
            _SETTINGS[name][1](value)
            if name in ("matmul_precision", "cudnn_tf32"):
                present = _current()  # these also set the precisions of single backends


def _or_none(getter: Callable[[], Any]) -> Callable[[], Any]:
    """Wrap `getter` to return None instead of raising RuntimeError.

    torch raises this error if the caller has set the precision of a single backend.
    """

    def get() -> Any:
        try:
            return getter()
        except RuntimeError:
            return None

    return get


def _precision(backend: str, operator: str) -> Any:
    precision = torch._C._get_fp32_precision_getter(backend, operator)
    return "ieee" if precision == "none" else precision


def _set_mkldnn(values: tuple[bool, bool]) -> None:
    torch._C._set_mkldnn_enabled(values[0])
    torch._C._set_mkldnn_deterministic(values[1])


def _set_cudnn(values: tuple[bool, bool, bool]) -> None:
    cudnn = torch.backends.cudnn
    cudnn.enabled, cudnn.benchmark, cudnn.deterministic = values


def _set_cudnn_tf32(value: bool) -> None:
    torch.backends.cudnn.allow_tf32 = value


def _start_precision(backend: str, operator: str) -> str:
    return "tf32" if backend == "cuda" and operator != "matmul" else "ieee"


# Precisions of single backends come after the settings that set several of them.
_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], object], Any]] = {
    "default_dtype": (torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    "grad": (torch.is_grad_enabled, torch._C._set_grad_enabled, True),
    **{
        f"autocast_{device}": (
            partial(torch.is_autocast_enabled, device),
            partial(torch.set_autocast_enabled, device),
            False,
        )
        for device in ("cpu", "cuda", "mps")
    },
    "deterministic": (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda values: torch.use_deterministic_algorithms(values[0], warn_only=values[1]),
        (False, False),
    ),
    "anomaly": (
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda values: torch.autograd.set_detect_anomaly(*values),
        (False, True),
    ),
    "flush_denormal": (lambda: sys.float_info.min * 0.5 == 0, torch.set_flush_denormal, False),  # torch has no getter
    "mkldnn": (
        lambda: (torch._C._get_mkldnn_enabled(), torch._C._get_mkldnn_deterministic()),
        _set_mkldnn,
        (True, False),
    ),
    "cudnn": (
        lambda: (torch._C._get_cudnn_enabled(), torch._C._get_cudnn_benchmark(), torch._C._get_cudnn_deterministic()),
        _set_cudnn,
        (True, False, False),
    ),
    "threads": (torch.get_num_threads, torch.set_num_threads, None),
    "matmul_precision": (_or_none(torch.get_float32_matmul_precision), torch.set_float32_matmul_precision, "highest"),
    "cudnn_tf32": (_or_none(torch._C._get_cudnn_allow_tf32), _set_cudnn_tf32, True),
    **{
        f"{backend}_{operator}": (
            partial(_precision, backend, operator),
            partial(torch._C._set_fp32_precision_setter, backend, operator),
            _start_precision(backend, operator),
        )
        for backend in ("cuda", "mkldnn")
        for operator in ("matmul", "conv", "rnn")
    },
}
"""Getter, setter and initial value of each setting. A computation starts with the initial value (torch's default), or
with the caller's value if the initial value is None."""
