"""How far a suite is, on standard error: bars for it and for each run that trains, or a plain line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from metatui.cli.console.output import console
from metatui.cli.console.pack_progress import OnProgress, packing_said
from metatui.cli.console.progress import EVERY_SECONDS, EVERY_SHARE
from metatui.runs.suites import RunEnded, RunPacked, RunProgress, RunStarted, RunWarned, Suite, SuiteEvent
from metatui.utils.text import sanitize


class Display(Protocol):
    def see(self, event: SuiteEvent) -> None: ...


@contextmanager
def display(suite: Suite, finished: int) -> Iterator[Display]:
    """The display that suits standard error, for a suite of which so many runs are finished before."""
    screen = console(stderr=True)
    if not screen.is_terminal or screen.is_dumb_terminal:
        yield PlainDisplay(screen, suite, finished)
        return
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(), TextColumn("{task.fields[metrics]}"),
        console=screen, refresh_per_second=4,
    )  # fmt: skip
    with bar:
        yield LiveDisplay(bar, suite, finished)


class PlainDisplay:
    """A line for each run's start and end, and every ten seconds or tenth of a run."""

    def __init__(self, screen: Console, suite: Suite, finished: int) -> None:
        self._screen = screen
        self._runs = len(suite.runs)
        self._over = finished
        self._said: dict[str, tuple[float, int]] = {}
        """Of each run, when a line was last said of it, and at which meta-step."""
        self._packing: dict[str, OnProgress] = {}
        if finished:
            self._say(f"{suite.name}: {finished} of {self._runs} runs are finished already")

    def see(self, event: SuiteEvent) -> None:
        run = event.planned
        now = time.monotonic()
        match event:
            case RunPacked():
                if run.name not in self._packing:
                    self._packing[run.name] = packing_said("images", lambda text: self._say(f"{run.name}: {text}"))
                self._packing[run.name](event.done, event.total)
            case RunStarted():
                self._said[run.name] = now, event.iteration
                self._say(started(event))
            case RunProgress():
                said_at, said = self._said[run.name]
                if now - said_at >= EVERY_SECONDS or event.iteration - said >= EVERY_SHARE * run.iterations:
                    self._said[run.name] = now, event.iteration
                    self._say(f"{run.name}: meta-step {event.iteration:,} of {run.iterations:,}: {metrics(event)}")
            case RunWarned():
                self._say(f"{run.name}: warning: {event.text}")
            case RunEnded():
                self._over += event.status == "finished"
                self._say(f"{ended(event)} ({self._over} of {self._runs} runs finished)")

    def _say(self, text: str) -> None:
        self._screen.print(sanitize(text, limit=2000), soft_wrap=True)


class LiveDisplay:
    """A bar for the whole suite, in runs, and one for each run that trains; what ends scrolls by above."""

    def __init__(self, bar: Progress, suite: Suite, finished: int) -> None:
        self._bar = bar
        self._runs = len(suite.runs)
        self._over = finished
        self._shares: dict[str, float] = {}
        self._tasks: dict[str, TaskID] = {}
        self._whole = bar.add_task(suite.name, total=self._runs, count="", metrics="")
        self._show_whole()

    def see(self, event: SuiteEvent) -> None:
        run = event.planned
        total = max(run.iterations, 1)
        match event:
            case RunPacked():
                if run.name not in self._tasks:
                    self._tasks[run.name] = self._bar.add_task(run.name, count="", metrics="")
                count = f"packing {event.done:,}/{event.total:,} images"
                self._bar.update(self._tasks[run.name], completed=event.done, total=event.total, count=count)
            case RunStarted():
                self._forget(run.name)
                self._tasks[run.name] = self._bar.add_task(
                    run.name, total=total, completed=event.iteration, count="", metrics=""
                )
                self._shares[run.name] = event.iteration / total
            case RunProgress():
                count = f"{event.iteration:,}/{run.iterations:,}"
                self._bar.update(self._tasks[run.name], completed=event.iteration, count=count, metrics=metrics(event))
                self._shares[run.name] = event.iteration / total
            case RunWarned():
                self._say(f"{run.name}: warning: {event.text}")
            case RunEnded():
                self._forget(run.name)
                self._shares.pop(run.name, None)
                self._over += event.status == "finished"
                self._say(ended(event))
        self._show_whole()

    def _forget(self, run: str) -> None:
        """Take away the bar that `run` has, if any."""
        if run in self._tasks:
            self._bar.remove_task(self._tasks.pop(run))

    def _show_whole(self) -> None:
        done = self._over + sum(self._shares.values())
        self._bar.update(self._whole, completed=done, count=f"{self._over}/{self._runs} runs")

    def _say(self, text: str) -> None:
        self._bar.console.print(sanitize(text, limit=2000), soft_wrap=True)


def started(event: RunStarted) -> str:
    since = f", from meta-step {event.iteration:,}" if event.iteration else ""
    return f"{event.planned.name}: {event.device}, {event.engine} engine{since}"


def ended(event: RunEnded) -> str:
    return f"{event.planned.name}: {event.status}" + (f": {event.sentence}" if event.sentence else "")


def metrics(event: RunProgress) -> str:
    loss = f"meta-loss {event.meta_loss:.4g}" if event.meta_loss is not None else "meta-loss not finite"
    accuracy = f", accuracy {100 * event.accuracy:.1f} %" if event.accuracy is not None else ""
    speed = f", {event.tasks_seen / event.seconds:,.0f} tasks/s" if event.seconds > 0 else ""
    return f"{loss}{accuracy}{speed}"
