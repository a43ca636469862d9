"""Diagnosis of NVIDIA GPUs that torch cannot use."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from metatui.learning.hardware import nvml
from metatui.learning.hardware.nvml import Driver
from metatui.utils.errors import first_line
from metatui.utils.text import sanitize

INSTALL = "https://pytorch.org/get-started/locally"


@dataclass(frozen=True)
class Cuda:
    """State of torch's build, the driver and the GPUs."""

    build: str | None
    """CUDA version that torch was built with; None for a build without CUDA."""
    architectures: tuple[str, ...]
    """GPU architectures that torch was built for, such as `sm_90`. Code for `compute_90` is compiled when loaded."""
    driver: Driver
    problem: str | None
    """Sentence that explains why an NVIDIA GPU cannot be used; None if there is no such problem."""


def cuda_status() -> Cuda:
    """Return the state of torch's build, the driver and the GPUs. This runs a kernel on every visible GPU."""
    driver = nvml.read_driver()
    problem = _problem(driver)
    return Cuda(torch.version.cuda, _architectures(), driver, problem)


def cuda_problem() -> str | None:
    """Explain why an NVIDIA GPU of this machine cannot be used.

    Returns:
        One sentence that names the GPU and the reason, and says what to do. None if every visible GPU works, or if
        there is no GPU.
    """
    return _problem(nvml.read_driver())


def visible_gpus() -> int:
    """Count the GPUs that torch sees. If CUDA cannot be used, return 0 without a warning; see `cuda_problem`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.cuda.device_count() if torch.cuda.is_available() else 0


def failure(index: int) -> str | None:
    """Try a computation on device `index`. Returns the first line of the error message, or None on success."""
    try:
        # A kernel and a copy: a visible GPU may be broken, in use, or of an architecture that torch does not support.
        torch.ones(1, device=f"cuda:{index}").add(1).item()
    except (RuntimeError, AssertionError) as error:
        return sanitize(first_line(error), limit=300)
    return None


def _architectures() -> tuple[str, ...]:
    return tuple(torch.cuda.get_arch_list()) if torch.version.cuda and visible_gpus() else ()


def _problem(driver: Driver) -> str | None:
    if torch.version.hip:  # AMD GPUs, which torch also calls cuda
        return None
    for index in range(visible_gpus()):
        if error := failure(index):
            return _device_problem(index, error)
    if visible_gpus():
        return None
    count = len(driver.gpus) or nvml.pci_gpus()
    if not count:
        return None
    name = driver.gpus[0].name if driver.gpus else "NVIDIA GPU"
    subject = f"The {name} cannot" if count == 1 else f"None of the {count} GPUs ({name}) can"
    return f"{subject} be used: {_machine_problem(driver)}"


def _device_problem(index: int, error: str) -> str:
    try:
        properties = torch.cuda.get_device_properties(index)
    except RuntimeError:
        return f"cuda:{index} cannot be used: {error}; nvidia-smi shows the state of the GPU"
    architectures = _architectures()
    capability = properties.major, properties.minor
    subject = f"cuda:{index} ({properties.name}) cannot be used"
    if architectures and not is_built_for(capability, architectures):
        built = ", ".join(architectures)
        return (
            f"{subject}: its compute capability is {properties.major}.{properties.minor}, "
            f"but torch {torch.__version__} is built for {built}; install another build of torch ({INSTALL})"
        )
    return f"{subject}: {error}; nvidia-smi shows the state of the GPU and its processes"


def is_built_for(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Return whether code for any of `architectures` runs on a GPU of this compute capability.

    Compiled code (`sm_`) runs on GPUs of the same major and the same or a later minor version; intermediate code
    (`compute_`) runs on GPUs of the same or any later version. Code for an architecture whose name ends in `a` runs
    only on GPUs of exactly that version.
    """
    for architecture in architectures:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", architecture)
        if not match:
            continue
        kind, built, special = match[1], (int(match[2]), int(match[3])), match[4]
        if capability == built or (
            special != "a" and capability > built and (kind == "compute" or capability[0] == built[0])
        ):
            return True
    return False


def _machine_problem(driver: Driver) -> str:
    """Explain why torch does not see any GPU, and what to do about it."""
    build = torch.version.cuda
    if build is None:
        return f"torch {torch.__version__} is built without CUDA; install a build with CUDA ({INSTALL})"
    if driver.error is not None:
        return (
            f"its driver does not respond ({driver.error}); install or reload the driver, or give the container "
            "access to the GPU"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and driver.gpus and not nvml.visible_words(visible, len(driver.gpus)):
        allowed = "set it to 0" if len(driver.gpus) == 1 else f"use numbers from 0 to {len(driver.gpus) - 1}"
        return f"CUDA_VISIBLE_DEVICES is {sanitize(visible)!r}, which does not select a GPU; unset it, or {allowed}"
    if driver.cuda is not None and driver.cuda[0] < int(build.split(".")[0]):
        supported = ".".join(map(str, driver.cuda))
        return (
            f"driver {driver.version} supports CUDA up to {supported}, but torch {torch.__version__} needs {build}; "
            f"update the driver, or install a build of torch for CUDA {driver.cuda[0]} ({INSTALL})"
        )
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        reason = sanitize(first_line(error), limit=300)
    else:
        reason = "CUDA found no devices"
    return f"{reason}; nvidia-smi shows the state of the GPU"
