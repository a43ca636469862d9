"""The process that measures engines: what `metatui.learning.benchmark.runner` starts.

Each message is a request, which is answered by one message: the measurement, or an `error`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

from metatui.learning.benchmark.flops import Counts, count
from metatui.learning.benchmark.measurement import machine, measure
from metatui.learning.benchmark.report import Measured
from metatui.learning.benchmark.workloads import Workload
from metatui.utils.child_process import Channel
from metatui.utils.errors import BadInput, MetatuiError, class_and_message
from metatui.utils.text import sanitize


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Measure what `request` asks for; any failure becomes an `error`."""
    try:
        if request["what"] == "machine":
            return asdict(machine(request["device"]))
        work = Workload(request["task"], request["algorithm"], request["inner_steps"])
        # Counting comes first: a crash costs least here, and it warms up the operations that all engines use.
        counts = _counted(work)
        settings = work.settings(request["engine"], request["device"], captured=request["captured"])
        took = measure(settings, request["seconds"])
        return asdict(Measured(took.ms, took.peak_memory_bytes, counts.flops, counts.bytes))
    except MetatuiError as error:
        return {"error": str(error), "bad_input": isinstance(error, BadInput)}
    except Exception as error:
        return {"error": sanitize(f"it failed ({class_and_message(error)})")}


@cache
def _counted(work: Workload) -> Counts:
    return count(work)


def main() -> None:
    channel = Channel.of_child()
    while request := channel.receive():
        channel.send(answer(request))
