"""Import of all libraries that a run needs, so that nothing is imported in the middle of the run."""

from __future__ import annotations

import mmap
import resource
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from metatui.utils.errors import MetatuiError
from metatui.utils.processors import allowed_processors

MIB = 2**20

BESIDE_TORCH = 256 * MIB
"""Number of bytes of address space to reserve for everything except torch's libraries."""

PER_CORE = 64 * MIB
"""Number of bytes of address space for the stack and buffers of each thread; OpenBLAS starts one thread per
processor, regardless of CPU quotas."""


@cache
def load_libraries() -> None:
    """Import everything that training and evaluation need.

    An import in the middle of a run could fail or hang: if a limit on address space leaves no memory for OpenBLAS,
    which scipy loads, OpenBLAS retries forever, and no signal handler runs in the meantime.

    Raises:
        MetatuiError: if the limit on address space is too low (`ulimit -v`).
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    limited = limit != resource.RLIM_INFINITY
    needed = _address_space() if limited else 0
    too_little = MetatuiError(
        f"torch and the libraries that it needs do not fit in the {limit / MIB:,.0f} MiB of address space that this "
        f"process may use (ulimit -v): they need about {needed / MIB:,.0f} MiB more; raise the limit"
    )
    try:
        if limited:
            mmap.mmap(-1, needed, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
        for name in ("safetensors.torch", "metatui.learning.training.trainer"):
            import_module(name)
    except (ImportError, MemoryError, OSError):
        if not limited:
            raise
        raise too_little from None


def _address_space() -> int:
    """Estimate how many bytes of address space the libraries need. Most of this space is for torch's library files."""
    spec = find_spec("torch")
    folders = spec.submodule_search_locations if spec else None
    files = [file for folder in folders or () for file in Path(folder, "lib").glob("*.so*")]
    return sum(file.stat().st_size for file in files) + BESIDE_TORCH + len(allowed_processors()) * PER_CORE
