"""Compiled functions on disk: traced by torch.fx, compiled by torch's Inductor ahead of time, loaded without either.

A package is kept under a name that says all that it depends on.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import platform
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metatui.learning.engines import batched_forward
from metatui.learning.engines.code_cache import private_folder, untrusted
from metatui.learning.engines.compiled import step_functions
from metatui.learning.engines.compiled.thread_tuner import Run
from metatui.utils import paths
from metatui.utils.errors import MetatuiError, class_and_message


class CompileFailed(MetatuiError):
    """There is no compiled function: no compiler, or one that failed, or a result that is off."""


def path_of(what: Sequence[object], inputs: Sequence[Tensor], threads: int) -> Path:
    """Where a function's package is, or would be.

    Args:
        what: says which function it is, by values whose text does not change from process to process.
        inputs: of the shapes and types that it is compiled for.
        threads: CPU threads that it may run with, fewer or more being allowed at each call.
    """
    processor = torch.backends.cpu.get_cpu_capability()
    depends = [torch.__version__, platform.machine(), processor, threads, *what]
    depends += [(tuple(t.shape), str(t.dtype), t.device.type) for t in inputs]
    depends += [inspect.getsource(module) for module in (step_functions, batched_forward)]
    digest = hashlib.sha256(repr(depends).encode()).hexdigest()
    return paths.compiled_dir() / f"{digest[:32]}.pt2"


def compile_to(path: Path, function: Callable[..., Tensor], inputs: Sequence[Tensor], threads: int) -> None:
    """Compile `function` for inputs like `inputs`, and write the package.

    To be called in a process that does nothing else: while it compiles, torch.compiler.is_compiling() is true for the
    whole process, at which other parts of torch compute differently.

    Raises:
        CompileFailed: with a sentence that says why.
    """
    from torch._inductor import aoti_compile_and_package
    from torch.fx.experimental.proxy_tensor import make_fx

    logging.disable(logging.WARNING)  # the compiler talks of its own parts
    # Multiply-adds are not fused, for then numbers would depend on which of them a thread takes by fours or eights.
    # The instruction set that the processor names is taken at its word, for trying it out takes three seconds, and
    # headers are not compiled ahead, which takes ten the first time and saves four later.
    options = {
        "cpp.threads": threads,
        "cpp.dynamic_threads": True,
        "cpp.enable_floating_point_contract_flag": "off",
        "cpp.vec_isa_ok": True,
        "aot_inductor.precompile_headers": False,
        "cpp_cache_precompile_headers": False,
    }
    torch.set_num_threads(threads)
    try:
        graph = make_fx(function)(*inputs)
        exported = torch.export.export(graph, tuple(inputs))
        with tempfile.TemporaryDirectory(dir=private_folder()) as folder:
            made = Path(folder) / "package.pt2"
            aoti_compile_and_package(exported, package_path=str(made), inductor_configs=options)
            made.chmod(0o600)
            made.replace(path)
    except Exception as error:  # the compiler raises whatever its backends raise
        raise CompileFailed(f"the compiler failed ({class_and_message(error, 200)})") from error


def load(path: Path) -> Run:
    """The function in a package of `compile_to`. Raises CompileFailed where it is not there or does not load."""
    from torch._inductor import aoti_load_package

    if not path.is_file():
        raise CompileFailed("the compiler left nothing")
    if reason := untrusted(path):
        raise CompileFailed(reason)
    if _damaged(path):
        raise CompileFailed("the compiled function is damaged")
    try:
        loader: Any = aoti_load_package(str(path)).loader
    except Exception as error:
        raise CompileFailed(f"the compiled function does not load ({type(error).__name__})") from error

    def run(inputs: list[Tensor]) -> Tensor:
        output: Tensor = loader.boxed_run(inputs)[0]
        return output

    return run


def _damaged(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as package:
            return package.testzip() is not None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError):
        return True
