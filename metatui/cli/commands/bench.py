"""`metatui bench`: measure the training speed of every engine on this machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from metatui.cli.console.layout import say
from metatui.cli.console.output import console, emit
from metatui.cli.options import apply_settings, examples, json_option
from metatui.config.settings import Settings
from metatui.learning.benchmark import rows
from metatui.learning.benchmark.runner import SECONDS, Benchmark, Machine, Measurement, Measuring, Ready, Report
from metatui.learning.benchmark.workloads import ALGORITHMS, ENGINES, TASKS, Cell, cells
from metatui.runs.execution.signals import ending_softly
from metatui.utils.errors import BadInput, MetatuiError
from metatui.utils.text import format_count

MAX_SECONDS = 3600.0


@click.command(
    epilog=examples(
        "metatui bench",
        "metatui bench --task sinusoid --algorithm maml --seconds 0.5",
    )
)
@click.option(
    "--task", "tasks", multiple=True, type=click.Choice(TASKS), help="Measure only this task; may be repeated."
)
@click.option(
    "--algorithm",
    "algorithms",
    multiple=True,
    type=click.Choice(ALGORITHMS),
    help="Measure only this algorithm; may be repeated.",
)
@click.option(
    "--engine", "engines", multiple=True, type=click.Choice(ENGINES), help="Measure only this engine; may be repeated."
)
@click.option(
    "--seconds",
    type=float,
    default=SECONDS,
    show_default=True,
    metavar="S",
    help="Duration of each measurement in seconds, excluding setup and compilation; slow engines may take longer, "
    "because at least four meta-steps are measured.",
)
@click.option("--device", metavar="DEVICE", help="Device to compute on.  [default: auto]")
@click.option("--ascii", "ascii_only", is_flag=True, help="Use ASCII characters only.")
@json_option
@click.pass_context
def bench(
    context: click.Context,
    tasks: tuple[str, ...],
    algorithms: tuple[str, ...],
    engines: tuple[str, ...],
    seconds: float,
    device: str | None,
    ascii_only: bool,
    as_json: bool,
) -> None:
    """Measure the speed and the memory use of all engines, algorithms and tasks.

    The speed is also given as a percentage of the machine's peak speed.

    On CUDA, each engine is measured twice: without CUDA graphs, and with each meta-step as one CUDA graph, as in
    training.

    Ctrl-C ends the benchmark and shows the results so far.
    """
    if not 0 < seconds <= MAX_SECONDS:
        raise BadInput(f"--seconds is {seconds:g}, but must be above 0 and at most {MAX_SECONDS:,.0f}")
    compute_device = apply_settings(Settings(), (), device).compute.device
    wanted = cells(tasks or TASKS, algorithms or ALGORITHMS, engines or ENGINES)
    if not wanted:
        given = " and ".join(engines)
        raise BadInput(f"--engine is {given}, but must name an engine that supports the given --task and --algorithm")
    benchmark = Benchmark(wanted, device=compute_device, seconds=seconds)
    machine: Machine | None = None
    measurements: list[Measurement] = []
    try:
        with (
            ending_softly(lambda cause: benchmark.stop()),
            _progress(benchmark, seconds) as show,
            closing(iter(benchmark)) as reports,
        ):
            for report in reports:
                show(report)
                if isinstance(report, Ready):
                    machine = report.machine
                elif isinstance(report, Measurement):
                    measurements.append(report)
    finally:  # show the results so far, even if the benchmark was interrupted
        if as_json:
            emit(_json(machine, measurements))
        elif measurements:
            from metatui.cli.console.bench_table import show as show_report

            show_report(measurements, console(), ascii_only=ascii_only)
    if benchmark.stopped:
        context.exit(130)
    if all(measurement.error for measurement in measurements):
        raise MetatuiError("every measurement failed: the output contains the reasons")


def _duration(wanted: Sequence[Cell], seconds: float) -> str:
    """Describe how long the benchmark will take."""
    count = format_count(len(wanted), "measurement")
    text = f"{count}, at least {_clock(len(wanted) * seconds)} (longer for slow engines: at least 4 meta-steps each)"
    if compiled := sum(cell.engine == "compiled" for cell in wanted):
        each = "the measurement" if compiled == 1 else f"each of the {compiled} measurements"
        text += f", and about 20 s more for {each} with the compiled engine, unless the compiled code is cached"
    return text


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _json(machine: Machine | None, measurements: Sequence[Measurement]) -> dict[str, Any]:
    description = asdict(machine) if machine else {}
    rates = {name: description.pop(name, None) for name in ("matmul_gflops", "copy_gb_per_s")}
    return {"machine": description or None, "rates": rates, "cells": [_cell_json(each) for each in measurements]}


def _cell_json(measurement: Measurement) -> dict[str, Any]:
    workload, measured = measurement.cell.work, measurement.measured
    return {
        "task": workload.task,
        "algorithm": workload.algorithm,
        "engine": measurement.cell.engine,
        "captured": measurement.cell.captured,
        "inner_steps": workload.inner_steps,
        "tasks": measurement.tasks,
        "meta_steps_per_s": measurement.meta_steps_per_s,
        "tasks_per_s": measurement.tasks_per_s,
        "ms": measurement.ms,
        "peak_memory_bytes": measured and measured.peak_memory_bytes,
        "flops": measured and measured.flops,
        "bytes": measured and measured.bytes,
        "floor_ms": measurement.floor_ms,
        "fraction_of_floor": measurement.fraction_of_floor,
        "error": measurement.error,
    }


@contextmanager
def _progress(benchmark: Benchmark, seconds: float) -> Iterator[Callable[[Report], None]]:
    """Context manager that shows progress on standard error, and yields the function that updates it.

    Progress is shown as a bar in a terminal, otherwise as a line for each measurement.
    """
    screen = console(stderr=True)
    if not screen.is_terminal or screen.is_dumb_terminal:

        def say_line(report: Report) -> None:
            _print_line(report, lambda text: say(screen, text))
            if isinstance(report, Ready):
                say(screen, _duration(benchmark.cells, seconds))

        yield say_line
        return
    columns = TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=screen, refresh_per_second=4, transient=True) as bar:
        task = bar.add_task("peak speed of the machine", total=len(benchmark.cells))

        def show(report: Report) -> None:
            match report:
                case Ready():
                    say(screen, _duration(benchmark.cells, seconds))
                    bar.update(task, total=len(benchmark.cells))
                case Measuring(cell):
                    bar.update(task, description=rows.full_name(cell))
                case Measurement():
                    bar.advance(task)

        yield show


def _print_line(report: Report, write: Callable[[str], None]) -> None:
    match report:
        case Ready(machine):
            write(rows.describe_machine(machine))
        case Measurement():
            write(rows.failed(report) if report.error else rows.result(report))
