"""A fake of pynvml that reports the GPUs, driver and processes that a test specifies."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    pass


@dataclass(eq=False)
class FakeGpu:
    """A fake GPU. If `parts` is not empty, the GPU is divided into them by MIG (Multi-Instance GPU)."""

    uuid: str
    name: str = "NVIDIA H100"
    capability: tuple[int, int] = (9, 0)
    parts: tuple[FakeGpu, ...] = ()
    pids: tuple[int, ...] = ()
    has_load: bool = True


@dataclass
class FakeNvml:
    """A fake of the part of pynvml that metatui uses."""

    gpus: list[FakeGpu] = field(default_factory=list)
    cuda: int = 13000
    error: str | None = None
    NVMLError: type[Exception] = NVMLError

    def nvmlInit(self) -> None:
        if self.error:
            raise NVMLError(self.error)

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return self.cuda

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:
        return self.gpus[index]

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> str:
        return gpu.name

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:
        return gpu.uuid

    def nvmlDeviceGetCudaComputeCapability(self, gpu: FakeGpu) -> list[int]:
        return list(gpu.capability)

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: FakeGpu) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: FakeGpu, index: int) -> FakeGpu:
        if index >= len(gpu.parts):
            raise NVMLError("Not Found")
        return gpu.parts[index]

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: FakeGpu) -> list[Any]:
        return [SimpleNamespace(pid=pid) for pid in gpu.pids]

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu) -> Any:
        return SimpleNamespace(used=2**30, total=80 * 2**30)

    def nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu) -> Any:
        if not gpu.has_load:
            raise NVMLError("Not Supported")
        return SimpleNamespace(gpu=50)
