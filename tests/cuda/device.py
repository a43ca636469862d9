"""Tensors that report a CUDA device but are computed on the CPU, with the same checks as on a real device.

Calls that create tensors are dispatched to the kernels that are registered at the end of this file. All other
operations on simulated tensors are dispatched to `_run`, which checks each operation, counts it, and records it while a
graph is being captured.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._mode_utils import no_dispatch

WAITING = {
    "_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount",
    "equal", "_linalg_check_errors",
}  # fmt: skip
"""Operations that make the CPU wait for the device, because the CPU needs the result or its shape."""

INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
"""Operations on CUDA tensors that accept index tensors on the CPU, and copy these to the device."""

WITHOUT_SCALARS = {"cat", "stack"}
"""Operations that do not accept a CPU tensor together with CUDA tensors, even if the CPU tensor has no dimensions."""

WITHOUT_KERNEL = ("empty", "new_empty", "_unsafe_view", "lift_fresh")
"""Prefixes of the names of operations that launch no kernel. Views launch no kernel either and are not listed here."""


class CaptureError(RuntimeError):
    """Raised if an operation cannot be captured in a CUDA graph."""


@dataclass(frozen=True)
class Recorded:
    """One kernel of a captured graph, with the tensors whose memory each replay reads and writes."""

    function: OpOverload
    arguments: Sequence[Any]
    keywords: Mapping[str, Any]
    results: Sequence[Tensor]
    allocated: Sequence[Tensor]
    """Results that the kernel allocated. They are stored in the memory pool of the graph."""

    def replay(self) -> None:
        """Compute the kernel again with the same arguments, and write the results to the same memory as before."""
        again = self.function(*self.arguments, **self.keywords)
        for old, new in zip(self.results, _tensors([again]), strict=True):
            if old.data_ptr() != new.data_ptr():
                old.copy_(new)


@dataclass
class Capture:
    """A CUDA graph while it is being captured, and afterwards a record of the capture."""

    device: torch.device
    stream: int
    kernels: list[Recorded] = field(default_factory=list)
    scalars: Counter[str] = field(default_factory=Counter)
    """Number of times that operations read CPU scalars, by operation and line of code. Each replay uses the values that
    the scalars had during the capture."""
    elsewhere: Counter[str] = field(default_factory=Counter)
    """Number of kernels on each device other than `device`. These kernels are not part of the graph."""
    broken: bool = False


class Simulator:
    """State of the simulated devices, and counts of what was done on them."""

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        """Number of times that the CPU waited for a device, by reason and line of code."""
        self.kernels: Counter[str] = Counter()
        """Number of kernels launched by operations, by device. Kernels in replayed graphs are not counted."""
        self.graph_launches = 0
        self.captured: list[Capture] = []
        """Graphs captured since the last call of `reset`."""
        self.before_kernel: Callable[[str, int], None] | None = None
        """Function that is called for each kernel, with the name of the operation and the number of bytes that it
        allocates. It may raise an error such as OutOfMemoryError."""
        self.capture: Capture | None = None
        self.current_device: Callable[[], int] = lambda: 0
        self._in_flight: list[tuple[Tensor, Tensor]] = []
        self._arriving: list[tuple[Tensor, Tensor]] = []

    def reset(self) -> None:
        """Reset all counts, and forget the captured graphs."""
        self.waits.clear()
        self.kernels.clear()
        self.captured.clear()
        self.graph_launches = 0

    def wait(self, reason: str) -> None:
        """Simulate that the CPU waits for the device: count the wait and complete all copies.

        Raises:
            CaptureError: if a graph is being captured.
            RuntimeError: if pinned memory was written to while a copy from it to the device was under way.
        """
        if self.capture is not None:
            self.refuse(f"CUDA error: operation not permitted when stream is capturing ({reason}, {_place()})")
        self.waits[f"{reason}, {_place()}"] += 1
        for host, value in self._arriving:
            host.copy_(value)
        self._arriving.clear()
        in_flight, self._in_flight = self._in_flight, []
        if any(not torch.equal(host, sent) for host, sent in in_flight):
            raise RuntimeError("pinned memory was written to while a copy from it to the device was under way")

    def refuse(self, message: str) -> None:
        """Mark the capture that is under way as failed, and raise CaptureError."""
        assert self.capture is not None
        self.capture.broken = True
        raise CaptureError(message)

    def send(self, host: Tensor, *, non_blocking: bool) -> None:
        """Simulate a copy from the CPU tensor `host` to the device.

        The CPU waits for the copy, unless `host` is pinned and `non_blocking` is True.

        Raises:
            CaptureError: if a graph is being captured and does not allow this copy.
        """
        pinned = host.is_pinned()
        if self.capture is not None and not pinned:
            self.refuse(
                "Cannot copy between CPU and CUDA tensors during CUDA graph capture unless the CPU tensor is pinned "
                f"({_place()})"
            )
        if not (pinned and non_blocking):
            self.wait("copy from pinned memory" if pinned else "copy from pageable memory")
        elif self.capture is None:
            self._in_flight = [*self._in_flight[-99:], (host, host.clone())]

    def receive(self, host: Tensor, value: Tensor) -> None:
        """Start to copy `value` from the device to the CPU tensor `host`, without waiting.

        The next wait completes the copy. Until then, a floating-point `host` contains NaN.
        """
        if self.capture is not None:
            self.refuse(f"the simulated device cannot capture a copy to the CPU ({_place()})")
        self._arriving.append((host, value.clone()))
        host.fill_(torch.nan if host.is_floating_point() else 1)


simulator = Simulator()


class SimulatedTensor(Tensor):
    """Tensor on a simulated device. The CPU tensor `memory` holds its elements."""

    memory: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, memory: Tensor, device: torch.device) -> SimulatedTensor:
        made: SimulatedTensor = torch.Tensor._make_wrapper_subclass(
            cls, memory.size(), strides=memory.stride(), storage_offset=memory.storage_offset(), dtype=memory.dtype,
            device=device,
        )  # fmt: skip
        made.memory = memory
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"{self.memory!r} on simulated {self.device}"

    def tolist(self) -> Any:
        # torch refuses this for subclasses.
        return self.detach().cpu().tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: OpOverload, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Check an operation as a real device would, compute it on the CPU, and count and record its kernel."""
    name, counts_first, changes_view, launches = _facts(func)
    given = [*_tensors(args), *_tensors(kwargs.values())]
    ours = [tensor for tensor in given if isinstance(tensor, SimulatedTensor)]
    others = [tensor for tensor in given if not isinstance(tensor, SimulatedTensor)]
    device = _device_of(name, args, kwargs, ours)
    copies = name in ("copy_", "_to_copy")
    if not copies:
        _check_devices(name, args, ours, others)
    if name in WAITING or (counts_first and kwargs.get("output_size") is None):
        simulator.wait(name)
    non_blocking = bool(kwargs.get("non_blocking", args[2] if name == "copy_" and len(args) > 2 else False))
    if name == "copy_" and not isinstance(args[1], SimulatedTensor):
        simulator.send(args[1], non_blocking=non_blocking)
    arrives_later = device.type == "cpu" and non_blocking and (name == "_to_copy" or args[0].is_pinned())
    if copies and device.type == "cpu" and not arrives_later:
        simulator.wait("copy to the CPU")

    known = {id(tensor.memory): tensor for tensor in ours}
    plain_args, plain = _each(list(args), _memory), {key: _each(value, _memory) for key, value in kwargs.items()}
    if plain.get("device") is not None:
        plain["device"] = torch.device("cpu")
    if arrives_later and name == "copy_":
        simulator.receive(args[0], plain_args[1].to(args[0].dtype).expand_as(args[0]))
        return args[0]
    result = func(*plain_args, **plain)
    if changes_view:  # unsqueeze_ and similar: the tensor itself takes the new shape, too
        with no_dispatch():
            func(*args, **kwargs)
    if arrives_later:
        simulator.receive(result, result)
    if device.type == "cpu":
        return result
    if launches:
        results = list(_tensors([result]))
        allocated = [tensor for tensor in results if id(tensor) not in known]
        if simulator.before_kernel is not None:
            simulator.before_kernel(name, sum(tensor.nbytes for tensor in allocated))
        simulator.kernels[str(device)] += 1
        if (capture := simulator.capture) is not None:
            if device == capture.device:
                if name != "copy_":  # reads pinned memory at each replay
                    plain_args = _each(plain_args, lambda t: t.clone() if any(t is scalar for scalar in others) else t)
                capture.kernels.append(Recorded(func, plain_args, plain, results, allocated))
            else:
                capture.elsewhere[str(device)] += 1
    return _each(result, lambda memory: known[id(memory)] if id(memory) in known else SimulatedTensor(memory, device))


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the tensors among the arguments or results of an operation, including tensors in lists and tuples."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _each(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return `value` with `function` applied to each tensor in it, including tensors in lists and tuples."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, list | tuple):
        return type(value)(_each(item, function) for item in value)
    return value


def _memory(tensor: Tensor) -> Tensor:
    return tensor.memory if isinstance(tensor, SimulatedTensor) else tensor


def _device_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], ours: list[SimulatedTensor]) -> torch.device:
    """Return the device on which the result of an operation is placed."""
    if kwargs.get("device") is not None:
        device = torch.device(kwargs["device"])
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", simulator.current_device())
        return device
    if name == "copy_":
        return torch.device(args[0].device)
    return ours[0].device


def _check_devices(name: str, args: tuple[Any, ...], ours: list[SimulatedTensor], others: list[Tensor]) -> None:
    """Raise RuntimeError, as torch does, if the tensors that an operation gets are on different devices."""
    devices = {tensor.device for tensor in ours}
    if name in INDEXING:
        for index in filter(lambda i: isinstance(i, Tensor), args[1]):
            if index.dtype in (torch.bool, torch.uint8):
                simulator.wait(f"{name} by a mask")
            elif not isinstance(index, SimulatedTensor):
                simulator.send(index, non_blocking=False)
        others = []
    if ours and any(tensor.dim() > 0 or name in WITHOUT_SCALARS for tensor in others):
        devices.add(torch.device("cpu"))
    elif ours and others and simulator.capture is not None:
        simulator.capture.scalars[f"aten::{name}, {_place()}"] += 1
    if len(devices) > 1:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{' and '.join(sorted(map(str, devices)))}! (aten::{name}, {_place()})"
        )


@cache
def _facts(func: OpOverload) -> tuple[str, bool, bool, bool]:
    """Return the properties of an operation that `_run` needs.

    They are cached, because torch computes them again on every access.

    Returns:
        The name of the operation; whether the shape of the result depends on the values of the arguments; whether the
        operation changes the shape of its argument in place; and whether it launches a kernel.
    """
    name = func._schema.name.removeprefix("aten::")
    aliases = [returned.alias_info for returned in func._schema.returns]
    launches = not aliases or any(alias is None or alias.is_write for alias in aliases)
    counts_first = str(func) == "aten.repeat_interleave.Tensor"
    return name, counts_first, torch.Tag.inplace_view in func.tags, launches and not name.startswith(WITHOUT_KERNEL)


def _place() -> str:
    """Return the file and line of metatui's code that called the current operation.

    The result is "outside metatui" if there is no such code, as in the threads of autograd.
    """
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if "/metatui/" in frame.f_code.co_filename:
            return f"{frame.f_code.co_filename.rpartition('/metatui/')[2]}:{frame.f_lineno}"
    return "outside metatui"


FACTORIES = (
    "empty.memory_format", "empty_strided", "arange", "arange.start", "arange.start_step", "linspace", "eye", "eye.m",
    "randperm", "randperm.generator", "tril_indices", "triu_indices",
)  # fmt: skip
"""ATen functions that create tensors. Every other function that creates a tensor calls one of them, and then applies
operations to its result."""


def register_factories() -> torch.library.Library:
    """Make torch's functions that create tensors return simulated tensors if the device is CUDA.

    The registration lasts as long as the returned object exists.
    """
    library = torch.library.Library("aten", "IMPL", "CUDA")  # type: ignore[no-untyped-call]
    for name in FACTORIES:
        packet, _, overload = name.partition(".")
        func = getattr(getattr(torch.ops.aten, packet), overload or "default")

        def kernel(*args: Any, func: OpOverload = func, **kwargs: Any) -> Any:
            return _run(func, args, {**kwargs, "device": kwargs.get("device") or "cuda", "pin_memory": None})

        library.impl(name, kernel)  # type: ignore[no-untyped-call]
    return library
