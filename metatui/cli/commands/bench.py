"""`metatui bench`: how fast every engine trains here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict
from typing import Any, Protocol

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from metatui.cli.console.output import console, emit
from metatui.cli.options import changed, json_option
from metatui.config.settings import Settings
from metatui.learning.benchmark import (
    ALGORITHMS,
    ENGINES,
    SECONDS,
    TASKS,
    Benchmark,
    Machine,
    Measurement,
    Measuring,
    Ready,
    Report,
    cells,
)
from metatui.runs.execution.signals import ending_softly
from metatui.tui.screens.benchmark import rows
from metatui.utils.errors import BadInput, MetatuiError
from metatui.utils.text import sanitize

LONGEST = 3600.0


@click.command()
@click.option("--task", "tasks", multiple=True, type=click.Choice(TASKS), help="Only this task; may be given often.")
@click.option("--algorithm", "algorithms", multiple=True, type=click.Choice(ALGORITHMS), help="Only this algorithm.")
@click.option("--engine", "engines", multiple=True, type=click.Choice(ENGINES), help="Only this engine.")
@click.option("--seconds", type=float, default=SECONDS, show_default=True, metavar="S", help="Spent on a cell, about.")
@click.option("--device", metavar="DEVICE", help="Where to compute; else the device that auto means.")
@click.option("--ascii", "ascii_only", is_flag=True, help="Draw with ASCII only.")
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
    """Measure engines by algorithms by tasks on this machine: speed, memory, and how near they come to its limits.

    On CUDA, each engine is measured twice: eager, and with each meta-step captured as one CUDA graph, as in training.

    Ctrl-C ends it and shows what has been measured until then.
    """
    if not 0 < seconds <= LONGEST:
        raise BadInput(f"--seconds is {seconds:g}, but must be a number above 0 up to {LONGEST:,.0f}")
    where = changed(Settings(), (), device).compute.device
    wanted = cells(tasks or TASKS, algorithms or ALGORITHMS, engines or ENGINES)
    if not wanted:
        raise BadInput(f"--engine is {' and '.join(engines)}, which cannot compute what --task and --algorithm name")
    benchmark = Benchmark(wanted, device=where, seconds=seconds)
    machine: Machine | None = None
    found: list[Measurement] = []
    try:
        with (
            ending_softly(lambda cause: benchmark.stop()),
            _display(benchmark) as display,
            closing(iter(benchmark)) as reports,
        ):
            for report in reports:
                display.see(report)
                if isinstance(report, Ready):
                    machine = report.machine
                elif isinstance(report, Measurement):
                    found.append(report)
    finally:  # however it ended, what has been measured is kept
        if as_json:
            emit(_report(machine, found))
        elif found:
            _print(found, ascii_only=ascii_only)
    if benchmark.stopped:
        context.exit(130)
    if all(each.error for each in found):
        raise MetatuiError("nothing could be measured")


def _report(machine: Machine | None, found: Sequence[Measurement]) -> dict[str, Any]:
    about = asdict(machine) if machine else {}
    rates = {name: about.pop(name, None) for name in ("matmul_gflops", "copy_gb_per_s")}
    return {"machine": about or None, "rates": rates, "cells": [_cell(each) for each in found]}


def _cell(found: Measurement) -> dict[str, Any]:
    work, measured = found.cell.work, found.measured
    return {
        "task": work.task,
        "algorithm": work.algorithm,
        "engine": found.cell.engine,
        "captured": found.cell.captured,
        "inner_steps": work.inner_steps,
        "tasks": found.tasks,
        "meta_steps_per_s": found.meta_steps_per_s,
        "tasks_per_s": found.tasks_per_s,
        "ms": found.ms,
        "peak_memory_bytes": measured and measured.peak_memory_bytes,
        "flops": measured and measured.flops,
        "bytes": measured and measured.bytes,
        "floor_ms": found.floor_ms,
        "fraction_of_floor": found.fraction_of_floor,
        "error": found.error,
    }


def _print(found: Sequence[Measurement], *, ascii_only: bool) -> None:
    from metatui.cli.console.bench_table import shown

    screen = console()
    for part in shown(found, screen, ascii_only=ascii_only):
        screen.print(part)


class Display(Protocol):
    def see(self, report: Report) -> None: ...


def _display(benchmark: Benchmark) -> AbstractContextManager[Display]:
    """How far it is, on standard error: a bar where somebody watches, else a line for each cell."""
    screen = console(stderr=True)
    if screen.is_terminal and not screen.is_dumb_terminal:
        return LiveDisplay(benchmark)
    return nullcontext(PlainDisplay())


class PlainDisplay:
    """A line for each cell that is measured."""

    def __init__(self) -> None:
        self._screen = console(stderr=True)

    def see(self, report: Report) -> None:
        match report:
            case Ready(machine):
                self._say(rows.said(machine))
            case Measurement():
                self._say(rows.failed(report) if report.error else rows.result(report))

    def _say(self, text: str) -> None:
        self._screen.print(sanitize(text, limit=2000), soft_wrap=True)


class LiveDisplay:
    """A bar that says what is being measured."""

    def __init__(self, benchmark: Benchmark) -> None:
        self._benchmark = benchmark
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn(),
            console=console(stderr=True), refresh_per_second=4, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("what the machine can do", total=len(benchmark.cells))

    def __enter__(self) -> LiveDisplay:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def see(self, report: Report) -> None:
        match report:
            case Ready():
                self._bar.update(self._task, total=len(self._benchmark.cells))
            case Measuring(cell):
                self._bar.update(self._task, description=rows.called(cell))
            case Measurement():
                self._bar.advance(self._task)
