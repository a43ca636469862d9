"""The benchmark's table, cell by cell, as text."""

from __future__ import annotations

from collections.abc import Iterable

from metatui.learning.benchmark import Cell, Machine, Measurement, Workload

NAMES = {"maml": "MAML", "fomaml": "FOMAML", "reptile": "Reptile"}

HEADINGS = ("", "engine", "ms", "meta-\nsteps/s", "tasks/s", "MiB", "of\nfloor")
NUMBERS = HEADINGS[2:]

NOTES = (
    "ms: median of a meta-step on given tasks, with forward, backward and outer update.",
    "MiB: peak of memory over what was held before the meta-steps.",
    "of floor: share of it that the FLOPs would take at the matmul rate, or the bytes to be moved at the copy rate.",
)


GRAPH_NOTE = "+ graph: each meta-step is one CUDA graph, as in training; otherwise many kernel launches."

DOUBT = (
    "Some meta-steps were faster than the floor: the machine was busier when its rates were measured. Measure again "
    "when it has nothing else to do."
)

BUSY = 0.5
"""Of the cores: a load above this disturbs what is measured."""


def name(work: Workload) -> str:
    """An algorithm with its inner steps."""
    return f"{NAMES[work.algorithm]}, {work.inner_steps} step{'' if work.inner_steps == 1 else 's'}"


def engine(cell: Cell) -> str:
    """The name of an engine in the table. The row of captured meta-steps is below that of the eager ones."""
    return "+ graph" if cell.captured else cell.engine


def figures(found: Measurement) -> tuple[str, ...]:
    """What stands under NUMBERS; dashes where nothing was measured."""
    measured = found.measured
    if measured is None:
        return ("-",) * len(NUMBERS)
    memory = measured.peak_memory_bytes
    share = found.fraction_of_floor
    return (
        figure(found.ms),
        figure(found.meta_steps_per_s),
        figure(found.tasks_per_s),
        "-" if memory is None else f"{memory / 2**20:,.1f}",
        "-" if share is None else f"{100 * share:.1f} %" if share >= 0.001 else "<0.1 %",
    )


def figure(value: float | None) -> str:
    """Three significant digits, whole numbers in full: `0.0120`, `12.3`, `1,234`."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 999.5 else f"{value:#.3g}".rstrip(".")


def fastest(found: Iterable[Measurement]) -> dict[Workload, float]:
    """Tasks a second of the fastest engine of each work."""
    best: dict[Workload, float] = {}
    for each in found:
        if each.tasks_per_s is not None:
            best[each.cell.work] = max(best.get(each.cell.work, 0.0), each.tasks_per_s)
    return best


def graph_note(found: Iterable[Measurement]) -> str:
    """The explanation of captured meta-steps; empty if there are none."""
    return GRAPH_NOTE if any(each.cell.captured for each in found) else ""


def doubt(found: Iterable[Measurement]) -> str:
    """What is to be said where the figures cannot be; empty where they can."""
    return DOUBT if any((each.fraction_of_floor or 0) > 1 for each in found) else ""


def said(machine: Machine) -> str:
    """The machine and its rates in a sentence."""
    gib = machine.memory_bytes / 2**30
    where = f"{machine.device_name} ({machine.device}, {figure(gib)} GiB)"
    host = "" if machine.device == "cpu" else f" on {machine.processor}"
    busy = machine.load > BUSY * machine.threads
    other = f"; other work was going on, at a load of {machine.load:.1f}" if busy else ""
    return (
        f"{where}{host}, {machine.threads} thread{'' if machine.threads == 1 else 's'}, torch {machine.torch}, "
        f"Python {machine.python}: matmul {figure(machine.matmul_gflops)} GFLOP/s, "
        f"copy {figure(machine.copy_gb_per_s)} GB/s, float32{other}"
    )


def result(found: Measurement) -> str:
    """A cell's figures in a sentence."""
    ms, steps, tasks, memory, share = figures(found)
    speed = f"{ms} ms, {steps} meta-steps/s, {tasks} tasks/s"
    return f"{called(found.cell)}: {speed}, {memory} MiB, {share} of the floor's speed"


def failed(found: Measurement) -> str:
    """What kept a cell from being measured, in a sentence."""
    return f"{called(found.cell)} was not measured: {found.error}"


def called(cell: Cell) -> str:
    """A cell by all its names."""
    return f"{cell.work.task}, {name(cell.work)}, {cell.engine}{' with CUDA graph' if cell.captured else ''}"
