"""Fixtures for tests on simulated CUDA devices. Each test begins on the first device, with all counts at zero."""

from __future__ import annotations

import pytest
import torch

from metatui.learning.engines.compiled import cuda_graph
from tests.cuda.device import simulator


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce the warm-up before a capture to one meta-step.

    On a real GPU, libraries choose their kernels in several warm-up steps. Simulated devices do not use these
    libraries.
    """
    monkeypatch.setattr(cuda_graph, "WARM_UP", 1)


@pytest.fixture(autouse=True)
def first_device() -> None:
    torch.cuda.set_device(0)
    simulator.reset()
