"""Simulated CUDA devices, for tests on a machine without a GPU. See README.md in this folder.

This module does not import torch before the simulated devices are installed.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from tests.cuda import guard


def install(devices: int = 2) -> None:
    """Give this process simulated CUDA devices.

    Raises:
        RuntimeError: if torch has been imported already, or devices cannot be simulated on this machine.
    """
    library = guard.load(devices)
    from tests.cuda import runtime

    runtime.start(library, devices)


def install_with_torch(devices: int) -> None:
    """Prepare this process so that it gets simulated CUDA devices when it imports torch.

    This function does not import torch itself.
    """
    sys.meta_path.insert(0, _Finder(devices))


class _Finder(MetaPathFinder):
    def __init__(self, devices: int) -> None:
        self._devices = devices

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "torch":
            return None
        sys.meta_path.remove(self)
        library = guard.load(self._devices)
        spec = importlib.util.find_spec("torch")
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            from tests.cuda import runtime

            runtime.start(library, self._devices)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
