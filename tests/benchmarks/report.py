"""Output of measurements as JSON and as the Markdown table of the README."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from metatui.learning.hardware.devices import physical_cores, resolve
from tests.benchmarks.timing import Timed
from tests.benchmarks.works import Work

OWN = "metatui"
"""Reference side of the ratios."""

LIBRARIES = {"higher": "higher", "learn2learn": "learn2learn", "jax": "JAX"}
"""Library names by module. Libraries that take part have been imported."""


def machine(device: str) -> dict[str, Any]:
    """Describe the machine and the versions of the libraries."""
    libraries = {name: version(name) for name in LIBRARIES if name in sys.modules}
    found = resolve(device)
    return {
        "device": found.title, "processor": resolve("cpu").title, "cores": physical_cores(),
        "python": platform.python_version(), "torch": str(torch.__version__), "libraries": libraries,
    }  # fmt: skip


def written(file: Path | None, figures: dict[str, Any]) -> None:
    """Write `figures` to `file`, if one is given."""
    if file is not None:
        file.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def measured_on(machine: dict[str, Any]) -> str:
    """Describe the machine and the libraries in one line."""
    libraries = [f"{LIBRARIES[name]} {number}" for name, number in machine["libraries"].items()]
    software = ", ".join([f"Python {machine['python']}", f"torch {machine['torch']}", *libraries])
    processor = "" if machine["processor"] == machine["device"] else f", {machine['processor']}"
    return f"{machine['device']}{processor}, {machine['cores']} cores; {software}."


def row(work: Work, timed: dict[str, Timed]) -> dict[str, Any]:
    """Return the figures of one row."""
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
    """Format medians in milliseconds and, in brackets, their ratio to the median of metatui."""
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
    """Format `value` with `digits` significant digits, or without decimals if its integer part has more."""
    return f"{value:,.0f}" if value >= 10 ** (digits - 1) else f"{value:.{digits}g}"
