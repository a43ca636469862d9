"""Functions compiled ahead of time by torch's Inductor and kept as packages on disk.

Loading a package needs neither tracing nor the compiler. The file name of a package is a hash of everything that the
compiled function depends on.
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

from metatui.learning.engines import batched
from metatui.learning.engines.code_cache import private_folder, untrusted
from metatui.learning.engines.compiled import step_functions
from metatui.utils import paths
from metatui.utils.errors import MetatuiError, class_and_message

Run = Callable[[list[Tensor]], Tensor]
"""A compiled function. It takes a list of inputs, and may change some of them in place."""


class CompileFailedError(MetatuiError):
    """Error for a compiled function that is missing or unusable.

    There may be no compiler, the compilation may have failed, or the function may give wrong results.
    """


def path_of(what: Sequence[object], inputs: Sequence[Tensor], threads: int) -> Path:
    """Return the path of a function's package, whether it exists or not.

    Args:
        what: identifies the function by values whose repr is the same in every process.
        inputs: tensors of the shapes and dtypes that the function is compiled for.
        threads: number of CPU threads that the function is compiled for. The compiled function may be called with
            another number of threads.
    """
    processor = torch.backends.cpu.get_cpu_capability()
    depends = [torch.__version__, platform.machine(), processor, threads, *what]
    depends += [(tuple(t.shape), str(t.dtype), t.device.type) for t in inputs]
    depends += [inspect.getsource(module) for module in (step_functions, batched)]
    digest = hashlib.sha256(repr(depends).encode()).hexdigest()
    return paths.compiled_dir() / f"{digest[:32]}.pt2"


def compile_to(path: Path, function: Callable[..., Tensor], inputs: Sequence[Tensor], threads: int) -> None:
    """Compile `function` for inputs like `inputs`, and write the package.

    Call this in a process that does nothing else: during the compilation, torch.compiler.is_compiling() is true for the
    whole process, which changes what other parts of torch compute.

    Raises:
        CompileFailedError: if the compilation fails; the message is the reason.
    """
    from torch._inductor import aoti_compile_and_package
    from torch.fx.experimental.proxy_tensor import make_fx

    logging.disable(logging.WARNING)  # messages about the internals of the compiler
    # Multiply-adds are not fused, because fusing them would depend on how threads split the vector loops. Testing the
    # instruction set would take three seconds. Precompiling headers takes ten seconds once and saves four later.
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
            package = Path(folder) / "package.pt2"
            aoti_compile_and_package(exported, package_path=str(package), inductor_configs=options)
            package.chmod(0o600)
            package.replace(path)
    except Exception as error:  # the compiler passes on any exception of its backends
        raise CompileFailedError(f"the compiler failed ({class_and_message(error, 200)})") from error


def load(path: Path) -> Run:
    """Load the package of a function. Raises CompileFailedError if it is missing, untrusted or damaged."""
    if not path.is_file():
        raise CompileFailedError("the compiler wrote no package")
    if reason := untrusted(path):
        raise CompileFailedError(reason)
    if _damaged(path):
        raise CompileFailedError("the compiled function is damaged")
    try:
        # `aoti_load_package` makes the same loader, but first imports the compiler and compiles programs that test the
        # instruction set, only to warn about a package for another machine.
        loader: Any = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)
    except Exception as error:
        raise CompileFailedError(f"the compiled function cannot be loaded ({type(error).__name__})") from error

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
