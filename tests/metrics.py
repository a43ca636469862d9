"""Function that reads the metrics of a whole run."""

from __future__ import annotations

from metatui.events import Progress
from metatui.runs.storage.metrics import MetricsReader


def read_all(reader: MetricsReader) -> list[Progress]:
    """Return the metrics of all meta-steps that `reader` has not returned yet."""
    steps: list[Progress] = []
    while new := reader.read_new():
        steps += new
    return steps
