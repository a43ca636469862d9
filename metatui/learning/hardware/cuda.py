"""Whether torch can use the NVIDIA GPUs of this machine, and why not."""

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
    """Everything that decides whether torch can use a GPU."""

    build: str | None
    """CUDA version that torch was built with; None for a build without CUDA."""
    architectures: tuple[str, ...]
    """GPU architectures that torch was built for: `sm_90`, or `compute_90` for code compiled when it is loaded."""
    driver: Driver
    problem: str | None
    """One sentence where a GPU is there but cannot be used."""


def cuda_status() -> Cuda:
    """Describe torch's build, the driver and the GPUs. Every visible GPU is tried."""
    driver = nvml.read_driver()
    problem = _problem(driver)
    return Cuda(torch.version.cuda, _architectures(), driver, problem)


def cuda_problem() -> str | None:
    """Say in one sentence why an NVIDIA GPU of this machine cannot be used.

    Returns:
        The GPU, the reason and what to do. None where every visible GPU computes, or where there is none.
    """
    return _problem(nvml.read_driver())


def visible_gpus() -> int:
    """Count the devices that torch sees; 0 where CUDA cannot be used. Prints no warning: `cuda_problem` has the
    reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.cuda.device_count() if torch.cuda.is_available() else 0


def failure(index: int) -> str | None:
    """Try to compute on device `index`. Returns the first line of the error; None on success."""
    try:
        # A kernel and a copy: a listed GPU may be broken, in use, or of an architecture that torch has no code for.
        torch.ones(1, device=f"cuda:{index}").add(1).item()
    except (RuntimeError, AssertionError) as error:
        return sanitize(first_line(error), limit=300)
    return None


def _architectures() -> tuple[str, ...]:
    return tuple(torch.cuda.get_arch_list()) if torch.version.cuda and visible_gpus() else ()


def _problem(driver: Driver) -> str | None:
    if torch.version.hip:  # AMD's GPUs, which torch also calls cuda
        return None
    for index in range(visible_gpus()):
        if error := failure(index):
            return _of_device(index, error)
    if visible_gpus():
        return None
    there = len(driver.gpus) or nvml.pci_gpus()
    if not there:
        return None
    name = driver.gpus[0].name if driver.gpus else "NVIDIA GPU"
    which = f"The {name}" if there == 1 else f"None of the {there} GPUs ({name})"
    return f"{which} {'cannot' if there == 1 else 'can'} be used: {_of_machine(driver)}"


def _of_device(index: int, error: str) -> str:
    try:
        properties = torch.cuda.get_device_properties(index)
    except RuntimeError:
        return f"cuda:{index} cannot be used: {error}; nvidia-smi shows its state"
    architectures = _architectures()
    capability = properties.major, properties.minor
    which = f"cuda:{index} ({properties.name}) cannot be used"
    if architectures and not is_built_for(capability, architectures):
        built = ", ".join(architectures)
        return (
            f"{which}: its compute capability is {properties.major}.{properties.minor}, but torch {torch.__version__} "
            f"is built for {built}; install another build of torch ({INSTALL})"
        )
    return f"{which}: {error}; nvidia-smi shows its state and who uses it"


def is_built_for(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Whether code for any of `architectures` runs on a GPU of this compute capability.

    Compiled code (`sm_`) runs on GPUs of the same major and the same or a later minor version, intermediate code
    (`compute_`) on GPUs of the same or any later version. Code that ends in `a` runs on exactly its own version.
    """
    for architecture in architectures:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", architecture)
        if not found:
            continue
        kind, built, special = found[1], (int(found[2]), int(found[3])), found[4]
        if capability == built or (
            special != "a" and capability > built and (kind == "compute" or capability[0] == built[0])
        ):
            return True
    return False


def _of_machine(driver: Driver) -> str:
    """Say why torch sees no GPU where there are some, and what to do."""
    build = torch.version.cuda
    if build is None:
        return f"torch {torch.__version__} is built without CUDA; install a build with CUDA ({INSTALL})"
    if driver.error is not None:
        return (
            f"its driver does not answer ({driver.error}); install or reload the driver, or give the container "
            "access to the GPU"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not nvml.visible_words(visible, len(driver.gpus)):
        named = "set it to 0" if len(driver.gpus) == 1 else f"name any of 0 to {len(driver.gpus) - 1}"
        return f"CUDA_VISIBLE_DEVICES is {sanitize(visible)!r}, which names none; unset it, or {named}"
    if driver.cuda is not None and driver.cuda[0] < int(build.split(".")[0]):
        supported = ".".join(map(str, driver.cuda))
        return (
            f"driver {driver.version} supports CUDA up to {supported}, but torch {torch.__version__} needs {build}; "
            f"update the driver, or install a build of torch for CUDA {driver.cuda[0]} ({INSTALL})"
        )
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        said = sanitize(first_line(error), limit=300)
    else:
        said = "CUDA finds no device"
    return f"{said}; nvidia-smi shows its state"
