"""Imported by each Python process that `tests.cuda.run` starts, and by the processes that those start."""

import os

from tests.cuda import install_with_torch

install_with_torch(int(os.environ["SIMULATED_CUDA_DEVICES"]))
