"""Implementation of `torch.cuda` for simulated devices.

torch's own Python code is kept where possible. This module replaces the compiled functions that this code calls.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import warnings
import weakref
from types import SimpleNamespace
from typing import Any, ClassVar

import torch

from tests.cuda.device import Capture, Recorded, register_factories, simulator

MEMORY = 80 * 2**30
"""Amount of memory that each simulated device reports, in bytes."""

CUDA = 1
"""Number that torch uses for the device type CUDA."""

_numbers = itertools.count(1)


class _Streams(threading.local):
    """ID of the current stream of each device, stored separately for each thread. The default stream has ID 0."""

    def __init__(self) -> None:
        self.current: dict[int, int] = {}


_streams = _Streams()


class Stream:
    """Replacement for `torch.cuda.Stream`.

    All streams are equivalent, because every operation is computed immediately when it is called.
    """

    device_type = CUDA

    def __init__(
        self, device: Any = None, priority: int = 0, *, stream_id: int | None = None, device_index: int = 0, **_: Any
    ) -> None:
        if stream_id is None:
            stream_id = next(_numbers)
            device_index = torch.cuda._utils._get_device_index(device, optional=True)
        self.stream_id, self.device_index, self.priority = stream_id, device_index, priority
        self.device = torch.device("cuda", device_index)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self.stream_id, self.device) == (other.stream_id, other.device)

    def __hash__(self) -> int:
        return hash((self.stream_id, self.device))

    def wait_stream(self, other: Stream) -> None:
        pass

    def synchronize(self) -> None:
        simulator.wait("Stream.synchronize")


class CUDAGraph:
    """Replacement for `torch.cuda.CUDAGraph` that records kernels and computes them again on the same memory.

    When another graph that uses the same memory pool is replayed, the results of this graph become NaN.
    """

    _of_pool: ClassVar[dict[Any, weakref.WeakSet[CUDAGraph]]] = {}

    def __init__(self, keep_graph: bool = False) -> None:
        self._kernels: list[Recorded] | None = None
        self._pool: Any = None
        self._computed = False

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global", **_: Any) -> None:
        stream = torch.cuda.current_stream()
        if stream == torch.cuda.default_stream():
            raise RuntimeError("CUDA graphs must be captured on a non-default stream.")
        if simulator.capture is not None:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        self._pool = pool or graph_pool_handle()
        simulator.capture = Capture(stream.device, stream.stream_id)

    def capture_end(self) -> None:
        capture, simulator.capture = simulator.capture, None
        if capture is None:
            raise RuntimeError("CUDA error: the stream is not capturing")
        if torch.cuda.current_stream().stream_id != capture.stream:
            raise RuntimeError("Capture must end on the same stream it began on.")
        if capture.broken:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        if not capture.kernels:
            warnings.warn(
                "The CUDA Graph is empty. This usually means that the graph was attempted to be captured on wrong "
                "device or stream.",
                stacklevel=2,
            )
        self._kernels, self._computed = capture.kernels, True
        self._fill_with_nan()  # a GPU computes nothing in a capture
        self._of_pool.setdefault(self._pool, weakref.WeakSet()).add(self)
        simulator.captured.append(capture)

    def replay(self) -> None:
        if self._kernels is None:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        simulator.graph_launches += 1
        with torch.no_grad():
            for graph in self._of_pool[self._pool]:
                if graph is not self:
                    graph._fill_with_nan()
            for kernel in self._kernels:
                kernel.replay()
        self._computed = True

    def reset(self) -> None:
        self._kernels = None

    def _fill_with_nan(self) -> None:
        if self._computed and self._kernels:
            for tensor in (tensor for kernel in self._kernels for tensor in kernel.allocated):
                if tensor.is_floating_point():
                    tensor.fill_(torch.nan)
        self._computed = False

    def pool(self) -> Any:
        return self._pool


def graph_pool_handle() -> tuple[int, int]:
    return 0, next(_numbers)


def start(library: ctypes.CDLL, devices: int) -> None:
    """Make `devices` simulated CUDA devices available to torch.

    Call this function once, after loading the device guard `library` and then importing torch.
    """
    cuda: Any = torch.cuda
    compiled: Any = torch._C

    # Python functions, because torch looks these up in tables and functions of ctypes are not hashable.
    def current_device() -> int:
        return int(library.simulated_cuda_get_device())

    def exchange(index: int) -> int:
        return int(library.simulated_cuda_exchange_device(index))

    simulator.current_device = current_device
    about = SimpleNamespace(
        name="Simulated CUDA device", total_memory=MEMORY, major=9, minor=0, multi_processor_count=132,
        is_integrated=False, L2_cache_size=50 * 2**20,
    )  # fmt: skip

    def set_device(index: int) -> None:
        if index >= devices:
            raise RuntimeError("CUDA error: invalid device ordinal")
        exchange(index)

    def current_stream(index: int) -> tuple[int, int, int]:
        return _streams.current.get(index, 0), index, CUDA

    def set_stream(*, stream_id: int, device_index: int, device_type: int) -> None:
        exchange(device_index)
        _streams.current[device_index] = stream_id

    def memory_stats(index: int) -> dict[str, Any]:
        return {f"{kind}_bytes": {"all": {"current": 0, "peak": 0}} for kind in ("allocated", "reserved")}

    for name, function in {
        "_cuda_getDeviceCount": lambda: devices,
        "_cuda_getDevice": current_device,
        "_cuda_setDevice": set_device,
        "_cuda_getCurrentStream": current_stream,
        "_cuda_getDefaultStream": lambda index: (0, index, CUDA),
        "_cuda_getCurrentRawStream": lambda index: 0,
        "_cuda_setStream": set_stream,
        "_cuda_synchronize": lambda: simulator.wait("synchronize"),
        "_cuda_emptyCache": lambda: None,
        "_host_emptyCache": lambda: None,
        "_cuda_memoryStats": memory_stats,
        "_cuda_resetPeakMemoryStats": lambda index: None,
        "_cuda_resetAccumulatedMemoryStats": lambda index: None,
        "_cuda_setMemoryFraction": lambda fraction, index: None,
        "_cuda_getArchFlags": lambda: "sm_80 sm_90",
    }.items():
        setattr(compiled, name, function)

    def mem_get_info(device: Any = None) -> tuple[int, int]:
        return MEMORY, MEMORY

    for module in (cuda, cuda.streams, cuda.graphs):
        for thing in (Stream, CUDAGraph):
            if hasattr(module, thing.__name__):
                setattr(module, thing.__name__, thing)
    cuda._exchange_device = cuda._maybe_exchange_device = exchange
    cuda._get_device_properties = lambda index: about
    cuda.device_count = lambda: devices
    cuda.mem_get_info = cuda.memory.mem_get_info = mem_get_info
    cuda.graph_pool_handle = cuda.graphs.graph_pool_handle = graph_pool_handle
    cuda.graphs._cuda_isCurrentStreamCapturing = lambda: simulator.capture is not None
    cuda.default_generators = tuple(torch.Generator() for _ in range(devices))
    cuda._initialized = True
    torch.version.cuda = "13.0"
    # A parameter that moves to the device becomes another object, because a subclass cannot take a tensor's place.
    # `torch.tensor(..., device="cuda")` then creates a tensor on the CPU and moves it by a dispatched operation.
    compiled._set_only_lift_cpu_tensors(True)
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    global _registration
    _registration = register_factories()


_registration: torch.library.Library
