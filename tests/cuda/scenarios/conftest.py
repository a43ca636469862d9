"""Each scenario begins on the first device, with nothing counted."""

from __future__ import annotations

import pytest
import torch

from tests.cuda.device import simulator


@pytest.fixture(autouse=True)
def first_device() -> None:
    torch.cuda.set_device(0)
    simulator.reset()
