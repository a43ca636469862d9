"""How fast this machine trains: engines by algorithms by tasks, beside what its arithmetic and memory would allow.

What is here needs no torch; a child process (`child`) measures, so that a cell that crashes or runs out of memory takes
none of the others with it.
"""

from __future__ import annotations

from metatui.learning.benchmark.report import Machine, Measured, Measurement, Measuring, Ready, Report
from metatui.learning.benchmark.runner import SECONDS, Benchmark
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
