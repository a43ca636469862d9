"""Metrics of whole runs, for comparisons in tests."""

from __future__ import annotations

from metatui.events import Progress
from metatui.runs.storage.metrics import MetricsReader


def read_all(reader: MetricsReader) -> list[Progress]:
    """Return all meta-steps that `reader` has not returned yet."""
    steps: list[Progress] = []
    while new := reader.read_new():
        steps += new
    return steps
