"""Compilation and loading of metatui's C functions. Compiling takes about a second, once for each kind of machine."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from metatui.learning.engines.code_cache import private_folder, untrusted
from metatui.utils import paths
from metatui.utils.errors import MetatuiError
from metatui.utils.files import read_bounded, write_atomically

TYPES = {torch.float32: "float", torch.float64: "double"}
SOURCES = ("tiles.c", "first_block.c", "pooled_norm.c")
HEADERS = ("vectors.h",)
FUNCTIONS = (
    "input_tiles", "input_tiles_back", "output_tiles", "output_tiles_back", "second_moments", "first_block",
    "first_block_back", "pooled_norm", "pooled_norm_back",
)  # fmt: skip

# Instruction sets by torch's name of the CPU's capability. Multiply-adds are not fused, so that numbers are the same.
INSTRUCTIONS = {"AVX2": ["-march=x86-64-v3"], "AVX512": ["-march=x86-64-v4"]}
FLAGS = ["-O3", "-ffp-contract=off", "-shared", "-fPIC"]

LANES = 16
"""Number of channels that are computed together. Most functions only support multiples of this number."""

MAX_BYTES = 2**24
"""Maximum size of a library file, in bytes."""

COMPILE_TIMEOUT = 60.0
"""Seconds after which the compiler is killed."""

log = logging.getLogger(__name__)


class Library:
    """The C functions for one dtype."""

    def __init__(self, path: Path) -> None:
        """Load the library. Raises OSError if the library cannot be loaded."""
        library = ctypes.CDLL(str(path))
        self._functions = {name: getattr(library, name) for name in FUNCTIONS}

    def __call__(self, name: str, tensors: list[Tensor], *sizes: int) -> None:
        """Call a function with contiguous tensors and sizes. The GIL is released during the call."""
        assert all(t.is_contiguous() and t.is_cpu for t in tensors)
        function = self._functions[name]
        if function.argtypes is None:
            function.restype = None
            function.argtypes = [ctypes.c_void_p] * len(tensors) + [ctypes.c_longlong] * len(sizes)
        function(*[t.data_ptr() for t in tensors], *sizes)


@cache
def library(dtype: torch.dtype) -> Library | None:
    """Return the C functions for a dtype, or None if they cannot be compiled on this machine."""
    if dtype not in TYPES:
        return None
    try:
        return Library(_built(TYPES[dtype]))
    except subprocess.CalledProcessError as error:
        log.warning("the C functions could not be compiled: %s", error.stderr.decode(errors="replace"))
    except (OSError, ValueError, MetatuiError, subprocess.SubprocessError) as error:
        log.warning("the C functions could not be compiled: %s", error)
    return None


def call(name: str, tensors: list[Tensor], *sizes: int) -> None:
    """Call a native function for the dtype of the first tensor. `library` must support this dtype."""
    native = library(tensors[0].dtype)
    assert native is not None
    native(name, tensors, *sizes)


def compiler() -> str | None:
    """Return the command of the C compiler, or None if there is no compiler."""
    return os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)


def _built(real: str) -> Path:
    """Return the path of the library for this CPU, and compile the library first if needed.

    Raises OSError, MetatuiError or SubprocessError if the library cannot be compiled or must not be loaded.
    """
    folder = files("metatui.learning.engines.native")
    sources = {name: folder.joinpath(name).read_bytes() for name in (*SOURCES, *HEADERS)}
    flags = [*FLAGS, *INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), []), f"-DREAL={real}"]
    digest = hashlib.sha256(repr((sources, flags, platform.machine(), platform.system())).encode()).hexdigest()
    path = paths.compiled_dir() / f"{digest[:32]}.so"
    if not _is_whole(path):
        _build(sources, flags, path)
    if reason := untrusted(path):
        raise OSError(reason)
    return path


def _build(sources: dict[str, bytes], flags: list[str], path: Path) -> None:
    command = compiler()
    if command is None:
        raise OSError("there is no C compiler")
    with tempfile.TemporaryDirectory(dir=private_folder()) as folder:
        for name, source in sources.items():
            (Path(folder) / name).write_bytes(source)
        made = Path(folder) / "library.so"
        arguments = [*shlex.split(command), *flags, *SOURCES, "-lm", "-o", str(made)]
        subprocess.run(arguments, cwd=folder, check=True, capture_output=True, timeout=COMPILE_TIMEOUT)
        content = made.read_bytes()
    for file, data in ((path, content), (_checksum(path), hashlib.sha256(content).hexdigest().encode())):
        write_atomically(file, data)
        file.chmod(0o600)


def _checksum(path: Path) -> Path:
    """Return the path of the file with a library's checksum. A library that does not match it is not loaded."""
    return path.with_suffix(".sha256")


def _is_whole(path: Path) -> bool:
    try:
        digest = hashlib.sha256(read_bounded(path, MAX_BYTES)).hexdigest()
        return read_bounded(_checksum(path), MAX_BYTES).decode(errors="replace") == digest
    except MetatuiError:
        return False
