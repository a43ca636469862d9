"""Progress of a suite on standard error: in a terminal, bars for the suite and its current runs; otherwise, lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from metatui.cli.console.layout import say
from metatui.cli.console.output import console
from metatui.cli.console.progress import (
    EVERY_SECONDS,
    EVERY_SHARE,
    MetricsProgress,
    OnProgress,
    can_redraw,
    packing_lines,
)
from metatui.runs.formatting import training_metrics
from metatui.runs.suites import RunEnded, RunPacked, RunProgress, RunStarted, RunWarned, Suite, SuiteEvent


@contextmanager
def display(suite: Suite, finished: int) -> Iterator[PlainDisplay | LiveDisplay]:
    """Context manager that yields a display, which shows the progress of a suite on standard error.

    Args:
        finished: number of runs that are already finished.
    """
    screen = console(stderr=True)
    if not can_redraw(screen):
        yield PlainDisplay(screen, suite, finished)
        return
    bar = MetricsProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        console=screen,
        refresh_per_second=4,
    )
    with bar:
        yield LiveDisplay(bar, suite, finished)


class PlainDisplay:
    """Display that prints lines instead of progress bars.

    A line is printed at the start and at the end of each run. During a run, a line is printed every ten seconds or
    every tenth of the run, whichever comes first.
    """

    def __init__(self, screen: Console, suite: Suite, finished: int) -> None:
        self._screen = screen
        self._runs = len(suite.runs)
        self._finished = finished
        self._last: dict[str, tuple[float, int]] = {}
        """Time and meta-step of the last line printed for each run."""
        self._packing: dict[str, OnProgress] = {}
        if finished:
            self._print(f"{suite.name}: {finished} of {self._runs} runs had already finished")

    def update(self, event: SuiteEvent) -> None:
        run = event.planned
        now = time.monotonic()
        match event:
            case RunPacked():
                if run.name not in self._packing:
                    self._packing[run.name] = packing_lines("images", lambda text: self._print(f"{run.name}: {text}"))
                self._packing[run.name](event.done, event.total)
            case RunStarted():
                self._last[run.name] = now, event.iteration
                since = f", from meta-step {event.iteration:,}" if event.iteration else ""
                self._print(f"{run.name}: {event.device}, {event.engine} engine{since}")
            case RunProgress():
                last_time, last = self._last[run.name]
                if now - last_time >= EVERY_SECONDS or event.iteration - last >= EVERY_SHARE * run.iterations:
                    self._last[run.name] = now, event.iteration
                    self._print(f"{run.name}, meta-step {event.iteration:,} of {run.iterations:,}: {metrics(event)}")
            case RunWarned():
                self._print(f"warning about {run.name}: {event.text}")
            case RunEnded():
                self._finished += event.status == "finished"
                self._print(f"{ended(event)} ({self._finished} of {self._runs} runs finished)")

    def _print(self, text: str) -> None:
        say(self._screen, text)


class LiveDisplay:
    """Progress bars: one for the suite, and one for each run that is training.

    When a run ends, a line is printed above the bars.
    """

    def __init__(self, bar: Progress, suite: Suite, finished: int) -> None:
        self._bar = bar
        self._runs = len(suite.runs)
        self._finished = finished
        self._shares: dict[str, float] = {}
        self._tasks: dict[str, TaskID] = {}
        self._suite_task = bar.add_task(suite.name, total=self._runs, count="", metrics="")
        self._update_suite()

    def update(self, event: SuiteEvent) -> None:
        run = event.planned
        total = max(run.iterations, 1)
        match event:
            case RunPacked():
                if run.name not in self._tasks:
                    self._tasks[run.name] = self._bar.add_task(run.name, count="", metrics="")
                count = f"packing {event.done:,}/{event.total:,} images"
                self._bar.update(self._tasks[run.name], completed=event.done, total=event.total, count=count)
            case RunStarted():
                self._remove(run.name)
                self._tasks[run.name] = self._bar.add_task(
                    run.name, total=total, completed=event.iteration, count="", metrics=""
                )
                self._shares[run.name] = event.iteration / total
            case RunProgress():
                count = f"{event.iteration:,}/{run.iterations:,}"
                below = f"{run.name}: {metrics(event)}"
                self._bar.update(self._tasks[run.name], completed=event.iteration, count=count, metrics=below)
                self._shares[run.name] = event.iteration / total
            case RunWarned():
                self._print(f"warning about {run.name}: {event.text}")
            case RunEnded():
                self._remove(run.name)
                self._shares.pop(run.name, None)
                self._finished += event.status == "finished"
                self._print(ended(event))
        self._update_suite()

    def _remove(self, run: str) -> None:
        if run in self._tasks:
            self._bar.remove_task(self._tasks.pop(run))

    def _update_suite(self) -> None:
        done = self._finished + sum(self._shares.values())
        self._bar.update(self._suite_task, completed=done, count=f"{self._finished}/{self._runs} runs")

    def _print(self, text: str) -> None:
        say(self._bar.console, text)


def ended(event: RunEnded) -> str:
    """Return a line about the end of a run."""
    return f"{event.planned.name}: {event.status}" + (f": {event.sentence}" if event.sentence else "")


def metrics(event: RunProgress) -> str:
    return training_metrics(event.meta_loss, event.accuracy, event.tasks_seen, event.seconds)
