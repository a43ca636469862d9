"""Functions that format the benchmark table and its notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from metatui.learning.benchmark.runner import Machine, Measurement
from metatui.learning.benchmark.workloads import Cell, Workload
from metatui.utils.text import format_count

NAMES = {"maml": "MAML", "fomaml": "FOMAML", "reptile": "Reptile"}

HEADINGS = ("", "engine", "ms", "meta-\nsteps/s", "tasks/s", "MiB", "of\nfloor")
NUMBERS = HEADINGS[2:]

NOTES = (
    "ms: median time of a meta-step (forward, backward and outer update) on fixed tasks.",
    "MiB: peak memory use during the meta-steps, excluding memory that was already in use before them.",
    "of floor: the floor as a fraction of the measured time. The floor is the time for the FLOPs at the matmul rate or "
    "for the memory traffic at the copy rate, whichever is longer; every implementation needs at least this time.",
)


GRAPH_NOTE = (
    "+ graph: each meta-step is one CUDA graph, as in training. In the other rows, a meta-step consists of many kernel "
    "launches."
)

FLOOR_WARNING = (
    "Some meta-steps were faster than the floor, because other work slowed down the machine while its rates were "
    "measured. Run the benchmark again while the machine is idle."
)

BUSY = 0.5
"""Load average per thread above which the machine is described as busy with other work."""


def name(work: Workload) -> str:
    """Return the name of an algorithm and its number of inner steps."""
    return f"{NAMES[work.algorithm]}, {format_count(work.inner_steps, 'step')}"


def engine(cell: Cell) -> str:
    """Return the text of the engine column.

    For a cell with CUDA graphs, the text is `+ graph`, because the row above shows the same engine without them.
    """
    return "+ graph" if cell.captured else cell.engine


def figures(measurement: Measurement) -> tuple[str, ...]:
    """Return the contents of the columns `NUMBERS`, with dashes for missing measurements."""
    measured = measurement.measured
    if measured is None:
        return ("-",) * len(NUMBERS)
    memory = measured.peak_memory_bytes
    share = measurement.fraction_of_floor
    return (
        figure(measurement.ms),
        figure(measurement.meta_steps_per_s),
        figure(measurement.tasks_per_s),
        "-" if memory is None else f"{memory / 2**20:,.1f}",
        "-" if share is None else f"{100 * share:.1f} %" if share >= 0.001 else "<0.1 %",
    )


def figure(value: float | None) -> str:
    """Format a number with three significant digits, or in full if it is large, for example as `0.0120` or `1,234`."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 999.5 else f"{value:#.3g}".rstrip(".")


def by_task(cells: Iterable[Cell]) -> list[tuple[str, list[tuple[str, Cell]]]]:
    """Group the cells by task. Each cell comes with the text for the first column of its row.

    The text is empty if it would be the same as in the row above.
    """
    groups = []
    for task, of_task in groupby(cells, key=lambda cell: cell.work.task):
        workloads = [list(same) for _, same in groupby(of_task, key=lambda cell: cell.work)]
        groups.append(
            (task, [("" if i else name(cell.work), cell) for same in workloads for i, cell in enumerate(same)])
        )
    return groups


def speed_ratios(measurements: Iterable[Measurement]) -> dict[Cell, float]:
    """Return the speed of each measured cell relative to the fastest engine of its workload, from 0 to 1."""
    speeds = {each.cell: each.tasks_per_s for each in measurements if each.tasks_per_s is not None}
    fastest: dict[Workload, float] = {}
    for cell, speed in speeds.items():
        fastest[cell.work] = max(fastest.get(cell.work, 0.0), speed)
    return {cell: speed / fastest[cell.work] for cell, speed in speeds.items()}


def fastest(measurements: Sequence[Measurement]) -> list[str]:
    """Return one sentence per task: it names the fastest engine, or says how often each engine is the fastest."""
    ratios = speed_ratios(measurements)
    sentences = []
    for task, cells in groupby(ratios, key=lambda cell: cell.work.task):
        winners = {cell.work: engine_name(cell) for cell in cells if ratios[cell] == 1}
        counts = Counter(winners.values()).most_common()
        if len(counts) == 1:
            sentences.append(f"{task}: the fastest engine is {counts[0][0]}.")
        else:
            parts = ", ".join(f"{name} in {count} of {len(winners)} cases" for name, count in counts)
            sentences.append(f"{task}: the fastest engine is {parts}.")
    return sentences


def graph_note(measurements: Iterable[Measurement]) -> str:
    """Return the note on CUDA graphs if any measurement used them; otherwise, return an empty string."""
    return GRAPH_NOTE if any(each.cell.captured for each in measurements) else ""


def floor_warning(measurements: Iterable[Measurement]) -> str:
    """Return a warning if any measurement is below `floor_ms`; otherwise, return an empty string."""
    return FLOOR_WARNING if any((each.fraction_of_floor or 0) > 1 for each in measurements) else ""


def describe_machine(machine: Machine) -> str:
    """Describe the machine in one sentence, with its peak rates of matrix products and copies."""
    gib = machine.memory_bytes / 2**30
    where = f"{machine.device_name} ({machine.device}, {figure(gib)} GiB)"
    host = "" if machine.device == "cpu" else f" on {machine.processor}"
    busy = machine.load > BUSY * machine.threads
    other = f"; busy with other work (load {machine.load:.1f})" if busy else ""
    return (
        f"{where}{host}, {format_count(machine.threads, 'thread')}, torch {machine.torch}, "
        f"Python {machine.python}: matmul {figure(machine.matmul_gflops)} GFLOP/s, "
        f"copy {figure(machine.copy_gb_per_s)} GB/s, float32{other}"
    )


def result(measurement: Measurement) -> str:
    """Format a measurement as a sentence."""
    ms, steps, tasks, memory, share = figures(measurement)
    speed = f"{ms} ms, {steps} meta-steps/s, {tasks} tasks/s"
    return f"{full_name(measurement.cell)}: {speed}, {memory} MiB, {share} of the maximum possible speed"


def failed(measurement: Measurement) -> str:
    """Explain why a cell was not measured."""
    return f"{full_name(measurement.cell)} was not measured: {measurement.error}"


def full_name(cell: Cell) -> str:
    """Return the full name of a cell."""
    return f"{cell.work.task}, {name(cell.work)}, {engine_name(cell)}"


def engine_name(cell: Cell) -> str:
    return f"{cell.engine}{' with CUDA graph' if cell.captured else ''}"
