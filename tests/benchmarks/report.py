"""Functions that write measurements as JSON, and as the Markdown table in the README of this folder."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from metatui.learning.hardware.devices import resolve
from metatui.utils.processors import usable_cores
from tests.benchmarks.timing import Timings
from tests.benchmarks.works import Work

OWN = "metatui"
"""Name of metatui in the table. The ratios in the table are relative to its times."""

LIBRARIES = {"higher": "higher", "learn2learn": "learn2learn", "jax": "JAX"}
"""Display names of the compared libraries, by module name. Only libraries that have been imported are reported."""


def machine(device: str) -> dict[str, Any]:
    """Return a description of the machine, and the versions of Python, torch and the compared libraries."""
    libraries = {name: version(name) for name in LIBRARIES if name in sys.modules}
    found = resolve(device)
    return {
        "device": found.title, "processor": resolve("cpu").title, "cores": usable_cores(),
        "python": platform.python_version(), "torch": str(torch.__version__), "libraries": libraries,
    }  # fmt: skip


def write_json(file: Path | None, figures: dict[str, Any]) -> None:
    """Write `figures` as JSON to `file`, if a file is given."""
    if file is not None:
        file.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def measured_on(machine: dict[str, Any]) -> str:
    """Return one line that names the device, the processor, the number of cores and the versions of the libraries."""
    libraries = [f"{LIBRARIES[name]} {number}" for name, number in machine["libraries"].items()]
    software = ", ".join([f"Python {machine['python']}", f"torch {machine['torch']}", *libraries])
    processor = "" if machine["processor"] == machine["device"] else f", {machine['processor']}"
    return f"{machine['device']}{processor}, {machine['cores']} cores; {software}."


def row(work: Work, timed: dict[str, Timings]) -> dict[str, Any]:
    """Return the name and the measured times of one row of the table, in a form that can be saved as JSON."""
    return {
        "work": work.name,
        "sides": {
            name: {
                "ms": side.ms,
                "engine": side.engine,
                "torch_threads": side.torch_threads,
                "turns_ms": list(side.turns),
            }
            for name, side in timed.items()
        },
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Format a Markdown table of median times in milliseconds, with their ratios to metatui's times in brackets."""
    names = list(dict.fromkeys(name for row in rows for name in row["sides"]))
    lines = ["| work (ms a meta-step) | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for found in rows:
        cells = [_cell(found["sides"], name) for name in names]
        lines.append(f"| {found['work']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(sides: dict[str, Any], name: str) -> str:
    if name not in sides:
        return "–"
    ms, own = sides[name]["ms"], sides[OWN]["ms"]
    return figure(ms, 3) if name == OWN else f"{figure(ms, 3)} ({figure(ms / own, 2)}x)"


def figure(value: float, digits: int) -> str:
    """Format `value` with `digits` significant digits.

    If the integer part has more digits than that, all of them are kept.
    """
    return f"{value:,.0f}" if value >= 10 ** (digits - 1) else f"{value:.{digits}g}"
