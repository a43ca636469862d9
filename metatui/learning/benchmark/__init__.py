"""Measurement of the training speed with each task, algorithm and engine, relative to the limits of this machine.

The modules imported here do not need torch. The measurements run in a child process, see child.py.
"""

from __future__ import annotations

from metatui.learning.benchmark.runner import (
    SECONDS,
    Benchmark,
    Machine,
    Measured,
    Measurement,
    Measuring,
    Ready,
    Report,
)
from metatui.learning.benchmark.workloads import (
    ALGORITHMS,
    ENGINES,
    TASKS,
    Cell,
    Workload,
    cells,
    described,
    with_captured,
)

__all__ = [
    "ALGORITHMS",
    "ENGINES",
    "SECONDS",
    "TASKS",
    "Benchmark",
    "Cell",
    "Machine",
    "Measured",
    "Measurement",
    "Measuring",
    "Ready",
    "Report",
    "Workload",
    "cells",
    "described",
    "with_captured",
]
