"""Compilation and loading of the device guard, which is the C++ part of the simulated CUDA devices.

The guard is compiled once for each release of torch. It must be loaded before torch is imported.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("guard.cpp")


def reason_unavailable() -> str | None:
    """Return the reason why CUDA devices cannot be simulated on this machine, or None if they can."""
    if not sys.platform.startswith("linux"):
        return "the simulated CUDA device requires Linux"
    if _compiler() is None:
        return "there is no C++ compiler for the simulated CUDA device"
    if (_torch() / "lib" / "libtorch_cuda.so").exists():
        return "this torch is built for CUDA, so a simulated CUDA device cannot take its place"
    return None


def load(devices: int) -> ctypes.CDLL:
    """Load the device guard for a number of simulated devices, compiling it first if necessary.

    Call this function before torch is imported, because torch checks only during its import whether CUDA is available.

    Raises:
        RuntimeError: if torch has been imported already, or devices cannot be simulated on this machine.
    """
    if "torch" in sys.modules:
        raise RuntimeError("install the simulated CUDA device before torch is imported")
    if reason := reason_unavailable():
        raise RuntimeError(reason)
    for name in ("libc10.so", "libtorch_cpu.so"):
        ctypes.CDLL(str(_torch() / "lib" / name), ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(build()), ctypes.RTLD_GLOBAL)
    library.simulated_cuda_set_device_count(devices)
    return library


def build() -> Path:
    """Compile the device guard, unless the cache folder contains it already. Returns the path of the shared library."""
    torch, compiler = _torch(), _compiler()
    assert compiler is not None
    options = [f"-std={_standard(torch)}", "-O1", "-shared", "-fPIC"]
    include = [f"-I{torch / 'include'}", f"-I{torch / 'include/torch/csrc/api/include'}"]
    link = [f"-L{torch / 'lib'}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{torch / 'lib'}"]
    key = repr((importlib.metadata.version("torch"), str(torch), compiler, options, SOURCE.read_bytes()))
    folder = Path(tempfile.gettempdir()) / f"metatui-simulated-cuda-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise RuntimeError(f"{folder} belongs to another user")
    library = folder / f"guard-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"
    if not library.exists():
        # Each process compiles into its own file and renames it, so that none loads an incomplete library.
        part = library.with_suffix(f".{os.getpid()}")
        try:
            subprocess.run([*compiler, *options, *include, str(SOURCE), "-o", str(part), *link], check=True)
            part.replace(library)
        finally:
            part.unlink(missing_ok=True)
    return library


def _torch() -> Path:
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _compiler() -> list[str] | None:
    for command in [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "c++", "clang++"]:
        words = shlex.split(command)
        if words and shutil.which(words[0]):
            return words
    return None


def _standard(torch: Path) -> str:
    """Return the C++ standard that this release of torch uses for extensions."""
    found = re.search(r"-std=(c\+\+\d\d)", (torch / "utils" / "cpp_extension.py").read_text())
    return found[1] if found else "c++20"
