"""Measures what it is asked to: `python -m metatui.learning.benchmark.child [NICENESS]`.

Requests come as JSON objects, one a line, on standard input, and each is answered by one on standard output: with what
was measured, or with an `error`. It ends when standard input does.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

from metatui.learning.benchmark.flops import Counts, count
from metatui.learning.benchmark.measurement import machine, measure
from metatui.learning.benchmark.report import Measured
from metatui.learning.benchmark.workloads import Workload
from metatui.utils.errors import BadInput, MetatuiError, class_and_message
from metatui.utils.text import sanitize


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a request asks for; whatever goes wrong becomes an `error`."""
    try:
        if request["what"] == "machine":
            return asdict(machine(request["device"]))
        work = Workload(request["task"], request["algorithm"], request["inner_steps"])
        # First, because a crash costs the least here, and because it warms up what all engines stand on.
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
    os.nice(int(sys.argv[1]))
    # What libraries print is not to be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
