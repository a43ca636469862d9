"""Tensors that report a CUDA device and are computed on the CPU, with the checks of a real device.

Factory functions reach the kernels registered at the end of this file; every other operation on such a tensor reaches
`_run`, which checks it, counts it, and records it if a graph is being captured.
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
"""Operations for which the CPU must wait because it needs the result or its shape."""

INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
"""Operations that accept indices on the CPU and copy them to the device."""

WITHOUT_SCALARS = {"cat", "stack"}
"""Operations that refuse a CPU tensor even if it has no dimensions."""

WITHOUT_KERNEL = ("empty", "new_empty", "_unsafe_view", "lift_fresh")
"""Prefixes of the names of operations, other than views, that launch no kernel."""


class CaptureError(RuntimeError):
    """An operation that may not be part of a CUDA graph."""


@dataclass(frozen=True)
class Recorded:
    """One kernel of a captured graph, on the memory that it was captured on."""

    function: OpOverload
    arguments: Sequence[Any]
    keywords: Mapping[str, Any]
    results: Sequence[Tensor]
    allocated: Sequence[Tensor]
    """The results that are stored in the graph's memory pool."""

    def replay(self) -> None:
        """Repeat the computation, writing to the same memory."""
        again = self.function(*self.arguments, **self.keywords)
        for old, new in zip(self.results, _tensors([again]), strict=True):
            if old.data_ptr() != new.data_ptr():
                old.copy_(new)


@dataclass
class Capture:
    """A graph that is being captured."""

    device: torch.device
    stream: int
    kernels: list[Recorded] = field(default_factory=list)
    scalars: Counter[str] = field(default_factory=Counter)
    """CPU scalars that were read, by position: each replay uses their value during the capture."""
    elsewhere: Counter[str] = field(default_factory=Counter)
    """Kernels on other devices, which are not part of the graph, by device."""
    broken: bool = False


class Simulator:
    """The state of the simulated devices, and counts of their operations."""

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        """Number of times that the CPU waited for a device, by reason and place."""
        self.kernels: Counter[str] = Counter()
        """Number of kernels launched outside of graphs, by device."""
        self.graph_launches = 0
        self.captured: list[Capture] = []
        """The graphs captured so far."""
        self.before_kernel: Callable[[str, int], None] | None = None
        """Called with the name of each operation and the bytes that it allocates; raises, say, OutOfMemoryError."""
        self.capture: Capture | None = None
        self.current_device: Callable[[], int] = lambda: 0
        self._in_flight: list[tuple[Tensor, Tensor]] = []
        self._arriving: list[tuple[Tensor, Tensor]] = []

    def reset(self) -> None:
        """Reset all counts."""
        self.waits.clear()
        self.kernels.clear()
        self.captured.clear()
        self.graph_launches = 0

    def wait(self, reason: str) -> None:
        """Wait for the device. Raises CaptureError during a capture."""
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
        """Raise CaptureError; the capture that is under way has failed."""
        assert self.capture is not None
        self.capture.broken = True
        raise CaptureError(message)

    def send(self, host: Tensor, *, non_blocking: bool) -> None:
        """Record a copy from the CPU's memory to the device."""
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
        """Copy to the CPU's memory without waiting: the value is there after the next wait, and NaN until then."""
        if self.capture is not None:
            self.refuse(f"the simulated device cannot capture a copy to the CPU ({_place()})")
        self._arriving.append((host, value.clone()))
        host.fill_(torch.nan if host.is_floating_point() else 1)


simulator = Simulator()


class SimulatedTensor(Tensor):
    """A tensor on a simulated device: `memory` holds its elements."""

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
    """Check, compute and count one operation."""
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
    """Yield the tensors among an operation's arguments or results, including those in lists."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _each(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return `value` with `function` applied to each tensor in it."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, list | tuple):
        return type(value)(_each(item, function) for item in value)
    return value


def _memory(tensor: Tensor) -> Tensor:
    return tensor.memory if isinstance(tensor, SimulatedTensor) else tensor


def _device_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], ours: list[SimulatedTensor]) -> torch.device:
    """Return the device of the result."""
    if kwargs.get("device") is not None:
        device = torch.device(kwargs["device"])
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", simulator.current_device())
        return device
    if name == "copy_":
        return torch.device(args[0].device)
    return ours[0].device


def _check_devices(name: str, args: tuple[Any, ...], ours: list[SimulatedTensor], others: list[Tensor]) -> None:
    """Raise RuntimeError, as torch does, if an operation gets tensors of several devices."""
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
    """Return the name of an operation, and whether its shape depends on values, it changes the shape of its argument,
    and it launches a kernel, which views do not. torch computes each of these anew whenever it is read."""
    name = func._schema.name.removeprefix("aten::")
    aliases = [returned.alias_info for returned in func._schema.returns]
    launches = not aliases or any(alias is None or alias.is_write for alias in aliases)
    counts_first = str(func) == "aten.repeat_interleave.Tensor"
    return name, counts_first, torch.Tag.inplace_view in func.tags, launches and not name.startswith(WITHOUT_KERNEL)


def _place() -> str:
    """Return the file and line of the code under test that is running; autograd's own threads have none."""
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
"""Functions that create tensors; all others are composed of these and of operations on their results."""


def register_factories() -> torch.library.Library:
    """Make factories return simulated tensors on CUDA. The registration lasts as long as the returned object."""
    library = torch.library.Library("aten", "IMPL", "CUDA")  # type: ignore[no-untyped-call]
    for name in FACTORIES:
        packet, _, overload = name.partition(".")
        func = getattr(getattr(torch.ops.aten, packet), overload or "default")

        def kernel(*args: Any, func: OpOverload = func, **kwargs: Any) -> Any:
            return _run(func, args, {**kwargs, "device": kwargs.get("device") or "cuda", "pin_memory": None})

        library.impl(name, kernel)  # type: ignore[no-untyped-call]
    return library
