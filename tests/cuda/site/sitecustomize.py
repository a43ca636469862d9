"""Give the current Python process simulated CUDA devices.

Python imports this module at the start of each process that `tests.cuda.run` starts, directly or indirectly.
"""

import os

from tests.cuda import install_with_torch

install_with_torch(int(os.environ["SIMULATED_CUDA_DEVICES"]))
