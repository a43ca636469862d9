"""How a run without the app shows where it is, on standard error: a live display, or a plain line now and then."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from metatui import events
from metatui.cli.console.output import adapted, console, headline, protocol, spelled
from metatui.config.settings import Settings
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.text import sanitize

EVERY_SECONDS = 10.0
EVERY_SHARE = 0.1


class Display(Protocol):
    def see(self, event: events.Event) -> None: ...


@contextmanager
def display(run: RunFolder) -> Iterator[Display]:
    """The display that suits standard error."""
    screen = console(stderr=True)
    if not screen.is_terminal or screen.is_dumb_terminal:
        yield PlainDisplay(screen, run)
        return
    bar = Progress(
        TextColumn("{task.description:10}"), BarColumn(bar_width=30), TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[metrics]}"),
        console=screen, refresh_per_second=4,
    )  # fmt: skip
    with bar:
        yield LiveDisplay(bar, run)


class PlainDisplay:
    """A line every ten seconds or tenth of the run, whichever comes first, and one for each other event."""

    def __init__(self, screen: Console, run: RunFolder) -> None:
        self._screen = screen
        self._run = run
        self._iterations = 1
        self._said_at = time.monotonic()
        self._said_share = 0.0

    def see(self, event: events.Event) -> None:
        self._iterations = _iterations(event, self._iterations)
        if isinstance(event, events.Progress):
            share = event.iteration / self._iterations
            now = time.monotonic()
            if now - self._said_at < EVERY_SECONDS and share - self._said_share < EVERY_SHARE:
                return
            self._said_at, self._said_share = now, share
            self._say(f"meta-step {event.iteration:,} of {self._iterations:,}: {metrics(event)}")
        elif text := sentence(event, self._run):
            self._say(text, style(event))

    def _say(self, text: str, style: str = "") -> None:
        self._screen.print(spelled(self._screen, text), style=style, soft_wrap=True)


class LiveDisplay:
    """A progress bar with the metrics beside it; other events scroll by above."""

    def __init__(self, bar: Progress, run: RunFolder) -> None:
        self._bar = bar
        self._run = run
        self._iterations = 1
        self._task = bar.add_task("training", total=None, count="", metrics="")

    def see(self, event: events.Event) -> None:
        self._iterations = _iterations(event, self._iterations)
        if isinstance(event, events.Progress):
            count = f"{event.iteration:,}/{self._iterations:,}"
            self._bar.update(
                self._task, description="training", completed=event.iteration, total=self._iterations, count=count,
                metrics=metrics(event),
            )  # fmt: skip
            return
        if isinstance(event, events.Evaluating):
            name = "testing" if event.split == "test" else "validating"
            self._bar.update(self._task, description=name)
            return
        if isinstance(event, events.Finished | events.Failed):
            self._bar.update(self._task, description="over")
        if text := sentence(event, self._run):
            screen = self._bar.console
            screen.print(spelled(screen, text), style=style(event), soft_wrap=True)


def metrics(event: events.Progress) -> str:
    accuracy = f", accuracy {100 * event.accuracy:.1f} %" if event.accuracy is not None else ""
    speed = f", {event.tasks_seen / event.seconds:,.0f} tasks/s" if event.seconds > 0 else ""
    return f"meta-loss {event.meta_loss:.4g}{accuracy}{speed}"


def style(event: events.Event) -> str:
    """The style of a sentence: yellow for warnings and for evaluations with diverged tasks."""
    match event:
        case events.Warned() | events.Finished(warning=str()):
            return "yellow"
        case events.Evaluated(evaluation=evaluation) if evaluation.diverged or not evaluation.is_finite:
            return "yellow"
        case _:
            return ""


def sentence(event: events.Event, run: RunFolder) -> str | None:
    """What there is to say about an event that is not a meta-step; None for those that need no words."""
    match event:
        case events.Started():
            text = (
                f"{run.id}: {event.settings.algorithm.name} on {event.settings.task.source}, {event.device} "
                f"({event.device_name}), {event.engine} engine, {event.parameters:,} parameters"
                + (f", from meta-step {event.iteration:,}" if event.iteration else "")
            )
        case events.Evaluated(evaluation=evaluation):
            best = ", best so far" if event.best else ""
            text = (
                f"validation at meta-step {evaluation.iteration:,}: {headline(evaluation)}{best} "
                f"({protocol(evaluation)})"
            )
        case events.Tweaked():
            text = f"{event.path} changed from {event.old} to {event.new} at meta-step {event.iteration:,}"
        case events.Warned():
            text = f"warning: {event.text}"
        case events.Paused():
            text = f"paused after meta-step {event.iteration:,}"
        case events.Resumed():
            text = f"goes on after meta-step {event.iteration:,}"
        case events.Noted():
            text = event.text
        case events.Finished():
            ending = {"iterations": "finished", "early_stop": "stopped early"}.get(event.reason, event.reason)
            test = event.test
            tested = f": {headline(test)} ({protocol(test)}), with {adapted(test)}" if test else ""
            warning = f"; warning: {event.warning}" if event.warning else ""
            resume = ""
            if event.reason == "interrupted":
                resume = f"; to continue: metatui run --resume {shlex.quote(str(run.path))}"
            text = f"{ending} at meta-step {event.iteration:,}{tested}; saved in {run.path}{warning}{resume}"
        case _:
            return None
    return sanitize(text, limit=2000)


def _iterations(event: events.Event, known: int) -> int:
    settings: Settings | None = event.settings if isinstance(event, events.Started) else None
    if settings is not None:
        return settings.training.iterations
    if isinstance(event, events.Tweaked) and event.path == "training.iterations" and isinstance(event.new, int):
        return event.new
    return known
