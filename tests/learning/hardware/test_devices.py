"""Tests of devices: resolution of names, out-of-memory errors, and copies of tensors."""

from __future__ import annotations

import pytest
import torch

from metatui.config.fields import parse
from metatui.learning import experiment
from metatui.learning.hardware import devices
from metatui.learning.hardware.devices import Device, cpu, default_threads, resolve, synchronize, to_device, use
from metatui.learning.hardware.memory import free_unused_memory, is_out_of_memory
from metatui.utils.errors import SettingsError


def broken(*_: object) -> None:
    raise RuntimeError("CUDA unknown error")


def test_cpu_needs_no_working_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("is_available", "device_count", "get_device_properties"):
        monkeypatch.setattr(torch.cuda, name, broken)
    assert resolve("cpu") == cpu()
    for call in (use, synchronize, free_unused_memory):
        call(torch.device("cpu"))


def test_float64_is_refused_on_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "resolve", lambda name: Device("mps", "a GPU", 2**30))
    with pytest.raises(SettingsError, match=r"compute\.precision is 'float64', but must be float32 on mps"):
        experiment.set_up(parse({"compute": {"precision": "float64"}}))


@pytest.mark.parametrize(
    ("variable", "runs", "threads"),
    [
        ("", 1, 8), ("1", 1, 1), ("3", 1, 3), ("16", 1, 8), ("4,2", 1, 4), (" 2 ", 1, 2), ("0", 1, 8), ("-1", 1, 8),
        ("many", 1, 8), ("", 3, 2), ("1", 3, 1), ("4", 3, 2), ("", 20, 1),
    ],
)  # fmt: skip
def test_default_threads(variable: str, runs: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "usable_cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert default_threads(runs) == threads


@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate 9.00 GiB",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "GET was unable to find an engine to execute this computation",
        "Unable to find a valid cuDNN algorithm to run convolution",
        "MPS backend out of memory (MPS allocated: 17.00 GB, other allocations: 1.00 GB)",
        "Invalid buffer size: 40.00 GiB",
        "HIP out of memory. Tried to allocate 20.00 MiB",
        "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
        "[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes",
        "Expected canUse32BitIndexMath(input) && canUse32BitIndexMath(output) to be true, but got false.",
    ],
)
def test_out_of_memory_messages(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(), MemoryError()])
def test_out_of_memory_classes(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: an illegal memory access was encountered",
        "Expected all tensors to be on the same device",
        "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 0",
        "",
    ],
)
def test_other_errors_are_not_out_of_memory(message: str) -> None:
    assert not is_out_of_memory(RuntimeError(message))


def test_moved_converts_once() -> None:
    values = torch.arange(3, dtype=torch.float64) / 3
    assert to_device(values, torch.device("cpu")) is values
    assert torch.equal(to_device(values, torch.device("cpu"), torch.float32), values.float())


@pytest.mark.parametrize("can_pin", [True, False])
def test_moved_pins_memory_for_cuda(can_pin: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[tuple[object, ...]] = []

    class Source(torch.Tensor):
        def pin_memory(self, device: object = None) -> torch.Tensor:
            if not can_pin:
                raise RuntimeError("no memory to pin")
            return Pinned(self)

        def to(self, *arguments: object, **options: object) -> torch.Tensor:
            copied.append((type(self), arguments, options))
            return self

    class Pinned(Source):
        def is_pinned(self, device: object = None) -> bool:
            return True

    device = torch.device("cuda:1")
    to_device(Source(torch.zeros(2)), device, torch.float32)
    kind = Pinned if can_pin else Source
    assert copied == [
        (Source, (), {"dtype": torch.float32}),
        (kind, (device,), {"non_blocking": can_pin}),
    ]
