"""The child process that measures engines, started by `metatui.learning.benchmark.runner`.

Each message to the child is a request. The child answers with one message: the measurement, or an `error`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

from metatui.learning.benchmark.flops import Counts, count
from metatui.learning.benchmark.measurement import machine, measure
from metatui.learning.benchmark.runner import CellFigures
from metatui.learning.benchmark.workloads import Workload
from metatui.utils.child_process import Channel
from metatui.utils.errors import BadInput, MetatuiError, class_and_message
from metatui.utils.text import sanitize


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out a request and return the answer. If an exception is raised, the answer contains an `error`."""
    try:
        if request["what"] == "machine":
            return asdict(machine(request["device"]))
        workload = Workload(request["task"], request["algorithm"], request["inner_steps"])
        # Count first, because that also loads and sets up the libraries that all engines use.
        counts = _counted(workload)
        settings = workload.settings(request["engine"], request["device"], captured=request.get("captured", False))
        timing = measure(settings, request["seconds"])
        return asdict(CellFigures(timing.ms, timing.peak_memory_bytes, counts.flops, counts.bytes))
    except MetatuiError as error:
        return {"error": str(error), "bad_input": isinstance(error, BadInput)}
    except Exception as error:
        return {"error": sanitize(f"it failed ({class_and_message(error)})")}


@cache
def _counted(workload: Workload) -> Counts:
    return count(workload)


def main() -> None:
    channel = Channel.of_child()
    while request := channel.receive():
        channel.send(answer(request))
