"""Functions that read the metrics of a whole run."""

from __future__ import annotations

from metatui.events import Progress
from metatui.runs.storage.metrics import MetricsReader
from metatui.runs.storage.run_folder import RunFolder


def read_all(reader: MetricsReader) -> list[Progress]:
    """Return the metrics of all meta-steps that `reader` has not returned yet."""
    steps: list[Progress] = []
    while new := reader.read_new():
        steps += new
    return steps


def metrics_of(run: RunFolder) -> list[tuple[int, float, float]]:
    """Return the metrics of all meta-steps, without the measured times."""
    return [(p.iteration, p.meta_loss, p.grad_norm) for p in read_all(run.metrics())]
