"""Tests of the diagnosis of unusable NVIDIA GPUs, and of finding the physical GPU that belongs to the device cuda:N."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from metatui.cli import main
from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Warned
from metatui.learning.hardware import cuda, devices, nvml
from metatui.learning.training.trainer import Trainer
from metatui.tui.model.system_monitor import Load, Sampler
from metatui.utils.errors import SettingsError
from tests.learning.hardware.nvml_stub import FakeGpu, FakeNvml

H100, A100 = "NVIDIA H100", "NVIDIA A100"
ONE, TWO = FakeGpu("GPU-3f5a", H100), FakeGpu("GPU-77bc", H100)
OTHER = FakeGpu("GPU-3c00", A100, pids=(4242,))
DIVIDED = FakeGpu("GPU-9000", H100, parts=(FakeGpu("MIG-11", has_load=False), FakeGpu("MIG-12", has_load=False)))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """Simulate one H100 with a driver for CUDA 13.0, and a torch build for CUDA 13.0 that does not see the GPU."""
    fake = FakeNvml([ONE])
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(nvml, "pci_gpus", lambda: len(fake.gpus))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake


def seen_by_torch(monkeypatch: pytest.MonkeyPatch, *, error: str | None, built: tuple[str, ...] = ("sm_90",)) -> None:
    """Make torch see one H100. If `error` is not None, computations on it fail with this message."""
    monkeypatch.setattr(cuda, "visible_gpus", lambda: 1)
    monkeypatch.setattr(cuda, "failure", lambda index: error)
    monkeypatch.setattr(cuda, "_architectures", lambda: built)
    properties = SimpleNamespace(name=H100, major=9, minor=0, total_memory=2**36)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)


def test_no_problem_without_gpu(driver: FakeNvml) -> None:
    driver.gpus = []
    assert cuda.cuda_problem() is None
    driver.error = "NVML Shared Library Not Found"
    assert cuda.cuda_problem() is None


def test_no_problem_with_working_gpu(driver: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    seen_by_torch(monkeypatch, error=None)
    assert cuda.cuda_problem() is None
    assert devices.resolve("auto").name == "cuda:0"


def test_old_driver(driver: FakeNvml) -> None:
    driver.cuda = 12020
    assert cuda.cuda_problem() == (
        f"The NVIDIA H100 cannot be used: driver 580.65 supports CUDA up to 12.2, but torch {torch.__version__} needs "
        "13.0; update the driver, or install a build of torch for CUDA 12 (https://pytorch.org/get-started/locally)"
    )


def test_build_without_cuda(driver: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    driver.gpus = [ONE, TWO]
    assert cuda.cuda_problem() == (
        f"None of the 2 GPUs (NVIDIA H100) can be used: torch {torch.__version__} is built without CUDA; install a "
        "build with CUDA (https://pytorch.org/get-started/locally)"
    )


def test_silent_driver(driver: FakeNvml) -> None:
    driver.error = "Driver/library version mismatch"
    assert cuda.cuda_problem() == (
        "The NVIDIA GPU cannot be used: its driver does not respond (Driver/library version mismatch); install or "
        "reload the driver, or give the container access to the GPU"
    )


@pytest.mark.parametrize("value", ["", "-1", "1", "none", "0,0"])
def test_hidden_gpu(driver: FakeNvml, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert cuda.cuda_problem() == (
        f"The NVIDIA H100 cannot be used: CUDA_VISIBLE_DEVICES is {value!r}, which does not select a GPU; "
        "unset it, or set it to 0"
    )


def test_gpu_that_the_driver_does_not_list(driver: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.gpus = []
    monkeypatch.setattr(nvml, "pci_gpus", lambda: 1)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert cuda.cuda_problem() == (
        "The NVIDIA GPU cannot be used: CUDA found no devices; nvidia-smi shows the state of the GPU"
    )


def test_gpu_that_torch_cannot_initialize(driver: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        raise RuntimeError("Error 802: system not yet initialized\nmore")

    monkeypatch.setattr(torch.cuda, "init", init)
    assert cuda.cuda_problem() == (
        "The NVIDIA H100 cannot be used: Error 802: system not yet initialized; nvidia-smi shows the state of the GPU"
    )


def test_gpu_that_torch_is_not_built_for(driver: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    seen_by_torch(monkeypatch, error="CUDA error: no kernel image is available", built=("sm_70", "sm_80"))
    assert cuda.cuda_problem() == (
        f"cuda:0 (NVIDIA H100) cannot be used: its compute capability is 9.0, but torch {torch.__version__} is built "
        "for sm_70, sm_80; install another build of torch (https://pytorch.org/get-started/locally)"
    )


def test_auto_skips_failing_gpu(driver: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    seen_by_torch(monkeypatch, error="CUDA error: uncorrectable ECC error encountered")
    said = (
        "cuda:0 (NVIDIA H100) cannot be used: CUDA error: uncorrectable ECC error encountered; nvidia-smi shows the "
        "state of the GPU and its processes"
    )
    assert cuda.cuda_problem() == said
    assert devices.resolve("auto").name == "cpu"
    fewest: dict[str, Scalar] = {
        "training.iterations": 1,
        "evaluation.tasks": 2,
        "evaluation.test_tasks": 2,
        "compute.engine": "batched",
    }
    events = list(Trainer(change(Settings(), {**fewest, "compute.device": "auto"})).events())
    assert [event.text for event in events if isinstance(event, Warned)] == [said]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("CUDA error: the GPU is lost\nCompile with TORCH_USE_CUDA_DSA"), "CUDA error: the GPU is lost"),
        (AssertionError("Torch not compiled with CUDA enabled"), "Torch not compiled with CUDA enabled"),
        (None, None),
    ],
)
def test_a_computation_shows_whether_a_gpu_works(
    error: Exception | None, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []

    def ones(size: int, device: str) -> torch.Tensor:
        used.append(device)
        if error is not None:
            raise error
        return torch.zeros(size)

    monkeypatch.setattr(torch, "ones", ones)
    assert cuda.failure(2) == said
    assert used == ["cuda:2"]


def test_silent_gpu_does_not_hide_others(driver: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = "CUDA error: the GPU is lost"

    def properties(index: int) -> SimpleNamespace:
        if index == 0:
            raise RuntimeError(lost)
        return SimpleNamespace(name=H100, major=9, minor=0, total_memory=2**36)

    monkeypatch.setattr(cuda, "visible_gpus", lambda: 2)
    monkeypatch.setattr(cuda, "failure", lambda index: lost if index == 0 else None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    assert [device.name for device in devices.available()] == ["cuda:1", "cpu"]
    assert devices.resolve("auto").name == "cuda:1"
    assert cuda.cuda_problem() == f"cuda:0 cannot be used: {lost}; nvidia-smi shows the state of the GPU"


def test_missing_device_error_names_the_problem(driver: FakeNvml) -> None:
    driver.cuda = 12020
    with pytest.raises(
        SettingsError, match=r"the available devices are cpu \(.*\)\. The NVIDIA H100 cannot be used: driver"
    ):
        devices.resolve("cuda")


def test_doctor_reports_the_problem(driver: FakeNvml, capsys: pytest.CaptureFixture[str]) -> None:
    driver.cuda = 12020
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["cuda"]
    assert found.pop("problem").startswith("The NVIDIA H100 cannot be used: driver 580.65")
    assert found == {
        "torch_cuda": "13.0", "architectures": [], "driver": "580.65", "driver_cuda": "12.2",
        "gpus": ["NVIDIA H100, compute capability 9.0"],
    }  # fmt: skip
    assert main(["doctor"]) == 0
    assert "NVIDIA H100, compute capability 9.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((9, 0), ["sm_80", "sm_90"], True),
        ((8, 6), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_80"], False),
        ((12, 0), ["sm_90", "compute_90"], True),
        ((7, 0), ["sm_75", "compute_75"], False),
        ((9, 0), ["sm_90a"], True),
        ((10, 3), ["sm_100a"], False),
        ((10, 3), ["sm_100f"], True),
        ((12, 0), ["sm_100", "compute_100a"], False),
    ],
)
def test_architectures_of_a_build(capability: tuple[int, int], architectures: list[str], runs: bool) -> None:
    assert cuda.is_built_for(capability, architectures) is runs


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("0,1", ["0", "1"]),
        (" 1 , 0", ["1", "0"]),
        ("", []),
        ("-1", []),
        ("1,-1,0", ["1"]),
        ("0,7,1", ["0"]),
        ("1,1", []),
        ("GPU-3f,MIG-11", ["GPU-3f", "MIG-11"]),
    ],
)
def test_visible_devices_are_parsed_like_cuda(value: str, words: list[str]) -> None:
    assert nvml.visible_words(value, 2) == words


@pytest.mark.parametrize(
    ("gpus", "index", "environ", "expected"),
    [
        ([ONE, TWO], 1, {}, TWO),
        ([ONE, TWO], 0, {"CUDA_VISIBLE_DEVICES": "1"}, TWO),
        ([ONE, TWO], 1, {"CUDA_VISIBLE_DEVICES": "1"}, None),
        ([ONE, TWO], 0, {"CUDA_VISIBLE_DEVICES": ""}, None),
        ([ONE, OTHER], 0, {"CUDA_VISIBLE_DEVICES": "GPU-3c"}, OTHER),
        ([ONE, OTHER], 0, {"CUDA_VISIBLE_DEVICES": "GPU-3"}, None),
        ([ONE, OTHER], 0, {"CUDA_VISIBLE_DEVICES": "GPU-5"}, None),
        ([ONE, OTHER], 1, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, OTHER),
        ([ONE, OTHER], 0, {}, OTHER),  # by the process
        ([ONE, OTHER], 0, {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, OTHER),
        ([ONE, DIVIDED], 0, {"CUDA_VISIBLE_DEVICES": "MIG-12"}, DIVIDED.parts[1]),
        ([ONE, DIVIDED], 0, {"CUDA_VISIBLE_DEVICES": "MIG-1"}, None),
    ],
)
def test_handle_of_process_gpu(
    driver: FakeNvml, gpus: list[FakeGpu], index: int, environ: dict[str, str], expected: FakeGpu | None
) -> None:
    driver.gpus = gpus
    assert nvml.handle_of(index, environ, pid=4242) is expected


def test_gpus_on_the_bus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, vendor, kind in (("a", "0x10de", "0x030200"), ("b", "0x10de", "0x040300"), ("c", "0x8086", "0x030000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    (tmp_path / "d").mkdir()
    monkeypatch.setattr(nvml, "PCI", tmp_path)
    assert nvml.pci_gpus() == 1
    monkeypatch.setattr(nvml, "PCI", tmp_path / "nowhere")
    assert nvml.pci_gpus() == 0


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the environment of processes is in /proc")
def test_load_is_measured_on_the_gpu_of_the_run(driver: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.gpus = [ONE, DIVIDED]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # in the app, where it has no effect
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": "MIG-11,0"}
    with subprocess.Popen(["cat"], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()  # now the process runs with its own environment
        sampler = Sampler()
        part, whole = sampler.sample(child.pid, "cuda:0"), sampler.sample(child.pid, "cuda:1")
        hidden = sampler.sample(child.pid, "cuda:2")
    memory = 2**30, 80 * 2**30
    assert part == Load(gpu_memory=memory)
    assert whole == Load(gpu_memory=memory, gpu_percent=50)
    assert hidden.process == child.pid


def test_process_load_without_driver(driver: FakeNvml) -> None:
    driver.error = "GPU is lost"
    assert Sampler().sample(os.getpid(), "cuda:0").process == os.getpid()
