"""Progress on standard error: bars in a terminal, otherwise a line at intervals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from metatui import events
from metatui.cli.console.layout import say
from metatui.cli.console.output import console
from metatui.config.fields import text_of
from metatui.runs.evaluation_clock import EvaluationClock
from metatui.runs.formatting import FINISHED, change_text, headline, hint_text, parameters, training_metrics
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.progress import packing, stages
from metatui.utils.text import sanitize

EVERY_SECONDS = 10.0
EVERY_SHARE = 0.1
"""Fraction of the run after which a progress line is printed if no progress bar is shown.

The line is printed after `EVERY_SECONDS` if that is earlier.
"""


def can_redraw(screen: Console) -> bool:
    """Return whether `screen` is a terminal that can redraw a bar."""
    return screen.is_terminal and not screen.is_dumb_terminal


@contextmanager
def display(run: RunFolder) -> Iterator[PlainDisplay | LiveDisplay]:
    """Context manager that yields a display, which shows the progress of a run on standard error."""
    screen = console(stderr=True)
    if not can_redraw(screen):
        yield PlainDisplay(screen, run)
        return
    bar = MetricsProgress(
        TextColumn("{task.description:10}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=screen,
        refresh_per_second=4,
    )
    with bar:
        yield LiveDisplay(bar, run)


class MetricsProgress(Progress):
    """Progress bars with the metrics on a line below, because the two do not fit side by side in 80 columns."""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield from super().get_renderables()
        for metrics in filter(None, (task.fields["metrics"] for task in self.tasks)):
            yield Text(metrics, no_wrap=True, overflow="ellipsis")


class PlainDisplay:
    """Display that prints lines instead of a progress bar.

    During training, a line about the last meta-step is printed every ten seconds or every tenth of the run, whichever
    comes first. During a validation or test, a line is printed every ten seconds. Other events are printed at once.
    """

    def __init__(self, screen: Console, run: RunFolder) -> None:
        self._screen = screen
        self._run = run
        self._iterations = 1
        self._last_time = time.monotonic()
        self._last = 0
        """Meta-step of the last line about the training."""
        self._clock = EvaluationClock()
        self._evaluated_at = 0.0
        """Time of the last line about the current validation or test; the start time if there is no such line yet."""

    def update(self, event: events.Event) -> None:
        self._iterations = _iterations(event, self._iterations)
        if isinstance(event, events.Progress):
            now = time.monotonic()
            few = event.iteration - self._last < EVERY_SHARE * self._iterations
            if now - self._last_time < EVERY_SECONDS and few:
                return
            self._last_time, self._last = now, event.iteration
            self._print(f"meta-step {event.iteration:,} of {self._iterations:,}: {_metrics(event)}")
        elif isinstance(event, events.Evaluating):
            self._update_evaluating(event)
        elif text := sentence(event, self._run):
            self._print(text, style(event))

    def _update_evaluating(self, event: events.Evaluating) -> None:
        self._clock.update(event)
        now = time.monotonic()
        if text := testing(event):
            self._print(text)
        elif event.done and now - self._evaluated_at >= EVERY_SECONDS:
            done = "tested" if event.split == "test" else "validated"
            self._print(f"meta-step {event.iteration:,}: {done} {tasks_done(event, self._clock)}")
        elif event.done:
            return
        self._evaluated_at = now

    def _print(self, text: str, style: str = "") -> None:
        say(self._screen, text, style=style)


class LiveDisplay:
    """Progress bar with the metrics on the line below. Events other than meta-steps are printed above the bar."""

    def __init__(self, bar: Progress, run: RunFolder) -> None:
        self._bar = bar
        self._run = run
        self._iterations = 1
        self._metrics = ""
        """Metrics of the last meta-step."""
        self._clock = EvaluationClock()
        self._task = bar.add_task("training", total=None, count="", metrics="")

    def update(self, event: events.Event) -> None:
        self._iterations = _iterations(event, self._iterations)
        if isinstance(event, events.Progress):
            count = f"{event.iteration:,}/{self._iterations:,}"
            self._metrics = _metrics(event)
            self._bar.update(
                self._task,
                description="training",
                completed=event.iteration,
                total=self._iterations,
                count=count,
                metrics=self._metrics,
            )
            return
        if isinstance(event, events.Evaluating):
            name = "testing" if event.split == "test" else "validating"
            self._clock.update(event)
            self._bar.update(self._task, description=name, metrics=tasks_done(event, self._clock))
        if isinstance(event, events.Finished | events.Failed):
            self._bar.update(self._task, description="ended", metrics=self._metrics)
        if text := testing(event) or sentence(event, self._run):
            say(self._bar.console, text, style=style(event))


def testing(event: events.Event) -> str | None:
    """Return a line if the event is the start of the final test; None for other events."""
    if isinstance(event, events.Evaluating) and event.split == "test" and event.done == 0:
        return f"meta-step {event.iteration:,}: testing on {event.tasks:,} tasks"
    return None


def tasks_done(event: events.Evaluating, clock: EvaluationClock) -> str:
    """Describe the progress of a validation or test: `120 of 600 tasks, 0:48 left`."""
    return f"{event.done:,} of {event.tasks:,} tasks{clock.left_text}"


def _metrics(event: events.Progress) -> str:
    return training_metrics(event.meta_loss, event.accuracy, event.tasks_seen, event.seconds)


def style(event: events.Event) -> str:
    """Return the style of an event's line: yellow for warnings and for evaluations with diverged tasks."""
    match event:
        case events.Warned() | events.Hinted() | events.Finished(warning=str()):
            return "yellow"
        case events.Evaluated(evaluation=evaluation) if evaluation.diverged or not evaluation.is_finite:
            return "yellow"
        case _:
            return ""


def sentence(event: events.Event, run: RunFolder) -> str | None:
    """Return a line about an event other than a meta-step; None for events that need no line."""
    match event:
        case events.Started():
            settings = event.settings
            model = f" with model {settings.model_name}" if settings.model_name != settings.usual_model else ""
            text = (
                f"{run.id}: {settings.algorithm.name} on {settings.task.source}{model}, {event.device} "
                f"({event.device_name}), {event.engine} engine ({event.engine_reason}), {event.parameters:,} parameters"
                + (f", from meta-step {event.iteration:,}" if event.iteration else "")
            )
        case events.Evaluated(evaluation=evaluation):
            best = ", best so far" if event.best else ""
            text = f"meta-step {evaluation.iteration:,}, validation: {headline(evaluation, level=True)}{best}"
        case events.Warned():
            text = f"warning: {event.text}"
        case events.Hinted():
            text = f"meta-step {event.iteration:,}, hint: {hint_text(event)}"
        case events.Finished(test=test):
            ending = FINISHED.get(event.reason, event.reason)
            tested = f"; test: {headline(test, level=True)}, {parameters(test)}" if test else ""
            # Without a result, the command ends with the warning.
            warning = f"; warning: {event.warning}" if event.warning and test and test.is_finite else ""
            resume = f"; to continue: {run.resume_command}" if event.reason == "interrupted" else ""
            text = f"meta-step {event.iteration:,}: {ending}{tested}; run folder: {run.path}{warning}{resume}"
        case events.Tweaked():
            change = change_text(event.path, text_of(event.old), text_of(event.new))
            text = f"meta-step {event.iteration:,}: {change}"
        case events.Noted():
            text = f"meta-step {event.iteration:,}: {event.text}"
        case events.Paused() | events.Resumed():
            text = f"meta-step {event.iteration:,}: {type(event).__name__}"
        case _:  # a command that fails ends with the message of `Failed`
            return None
    return sanitize(text, limit=2000)


def _iterations(event: events.Event, known: int) -> int:
    """Return the total number of meta-steps: the number in `event` if the event contains one, otherwise `known`."""
    if isinstance(event, events.Started):
        return event.settings.training.iterations
    if isinstance(event, events.Tweaked) and event.path == "training.iterations" and isinstance(event.new, int):
        return event.new
    return known


OnProgress = Callable[[int, int], None]
"""Callback that takes the number of items packed so far and the total number of items."""


@contextmanager
def images_shown() -> Iterator[None]:
    """Context manager that shows the progress of packing if an image folder is packed in the `with` block."""
    with packing_shown("images") as progress, packing.listener(progress):
        yield


@contextmanager
def start_shown() -> Iterator[None]:
    """Context manager that shows the progress of packing images and, in a terminal, the stages of starting a run."""
    screen = console(stderr=True)
    with ExitStack() as stack:
        if can_redraw(screen):
            status = screen.status("loading PyTorch and the data, and choosing the engine")
            stack.enter_context(status)
            stack.enter_context(stages.listener(status.update))
            stack.enter_context(packing.listener(lambda done, total: status.stop()))  # a bar takes its place
        stack.enter_context(images_shown())
        yield


@contextmanager
def packing_shown(what: str) -> Iterator[OnProgress]:
    """Context manager that yields a function with which to show the progress of packing.

    Nothing is shown before the first call to this function.

    Args:
        what: name of the packed items, such as `images`.
    """
    screen = console(stderr=True)
    if not can_redraw(screen):
        yield packing_lines(what, lambda text: say(screen, text))
        return
    with ExitStack() as stack:
        columns = (TextColumn(f"packing {what}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Progress(*columns, console=screen)
        task = bar.add_task("packing", total=None)

        def show(done: int, total: int) -> None:
            if not bar.live.is_started:
                stack.enter_context(bar)
            bar.update(task, completed=done, total=total)

        yield show


def packing_lines(what: str, write: Callable[[str], object]) -> OnProgress:
    """Return a function that writes a line at the start of packing and after each tenth of the items."""
    last_tenth = 0

    def show(done: int, total: int) -> None:
        nonlocal last_tenth
        tenth = 10 * done // max(1, total)
        if done == 0:
            write(f"packing {total:,} {what}")
        elif tenth > last_tenth:
            last_tenth = tenth
            write(f"packed {done:,} of {total:,} {what}")

    return show
