"""Functions that create small tables of regression tasks for tests."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path


def regressions(
    path: Path, *, tasks: int = 40, rows: int = 12, inputs: int = 1, targets: int = 1, seed: int = 0
) -> Path:
    """Write a CSV file of regression tasks whose targets are noisy sums of sine waves.

    The column `plant` identifies the task, `x0`, `x1`, ... are inputs, and `y0`, `y1`, ... are targets. The means
    of the inputs and targets are far from zero.
    """
    draw = random.Random(seed)
    header = ["plant", *(f"x{i}" for i in range(inputs)), *(f"y{i}" for i in range(targets))]
    lines = [",".join(header)]
    for task in range(tasks):
        phases = [draw.uniform(0, math.pi) for _ in range(targets)]
        for _ in range(rows):
            x = [draw.uniform(100, 110) for _ in range(inputs)]
            y = [500 + 20 * sum(math.sin(v - phase) for v in x) + draw.gauss(0, 0.1) for phase in phases]
            lines.append(",".join([f"p{task:02}", *(f"{v:.6f}" for v in (*x, *y))]))
    path.write_text("\n".join(lines) + "\n")
    return path


def table_text(rows: Sequence[str], header: str = "task,x,y") -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def few_tasks(tasks: int, rows: int = 4) -> list[str]:
    """Return CSV rows with the columns task, x and y: `rows` rows for each of `tasks` tasks."""
    return [f"t{task},{row},{task + row}" for task in range(tasks) for row in range(rows)]
