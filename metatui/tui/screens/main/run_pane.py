"""Pane with the state of the run: progress, results, speed, time, memory use and load, with two sparklines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.segment import Segment
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from metatui.config.fields import FIELDS
from metatui.config.settings import Settings
from metatui.events import Failed, Started
from metatui.runs.formatting import duration, headline, result_words, split_name
from metatui.tui.formatting import number, short_metric
from metatui.tui.keyboard.actions import Phase, with_keys
from metatui.tui.model.history import History
from metatui.tui.model.run_model import RunModel
from metatui.tui.model.system_monitor import Load
from metatui.tui.widgets.charts import MetricSparkline
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget, width_of
from metatui.utils.text import NO_BREAK_SPACE, format_count, wrap_text

GAP = "   "
LABEL = 11
"""Width of the column of labels."""
NO_RUN = (
    "No run is shown. {start} starts one with the settings in the form, {tab_runs} lists earlier runs, and "
    "{tab_presets} lists presets."
)


class Fact(NamedTuple):
    label: str
    text: str
    warning: bool = False
    detail: str = ""
    """Additional text, which is omitted if the facts would otherwise not fit."""

    @property
    def words(self) -> str:
        return f"{self.label} {self.text}"


class RunNumbers(RowsWidget):
    """Shows a progress bar and facts about the run, as a table if there is room, otherwise as a few rows of text.

    If the run failed, the reason is shown first.
    """

    def __init__(self) -> None:
        super().__init__(id="run-numbers")
        self._model: RunModel | None = None
        self._phase = Phase.IDLE
        self._load = Load()
        self._marked: Sequence[str] = ()

    def show(self, model: RunModel | None, phase: Phase, load: Load, marked: Sequence[str] = ()) -> None:
        """Show a run, or the names of marked runs if `model` is None.

        Args:
            phase: state of the run, or IDLE if the app does not follow the run.
        """
        self._model, self._phase, self._load, self._marked = model, phase, load, marked
        self.redraw()

    def rows(self, width: int, height: int, theme: ChartTheme) -> list[Row]:
        model = self._model
        if model is None:
            text = theme.printable(_without_run(self._marked))
            return [[Segment(row, theme.muted)] for row in wrap_text(text, max(1, width))]
        facts = facts_of(model, self._load, self._phase)
        short = [fact._replace(text=theme.printable(fact.text)) for fact in facts]
        full = [fact._replace(text=theme.printable(fact.text + fact.detail)) for fact in facts]
        first = [*self._failure(model, width, height, theme), _bar(model, width, theme)]
        room = height - len(first)
        is_table = height > 6
        rows = table(full, width, theme) if is_table else packed(full, width, theme)
        if len(rows) > room:
            rows = table(short, width, theme) if is_table else packed(short, width, theme, room)
        return [*first, *rows]

    def _failure(self, model: RunModel, width: int, height: int, theme: ChartTheme) -> list[Row]:
        if not isinstance(model.ended, Failed):
            return []
        ellipsis = theme.glyphs.ellipsis
        lines = wrap_text(
            theme.printable(model.ended.sentence),
            max(len(ellipsis), width),
            max_lines=max(1, height),
            placeholder=ellipsis,
        )
        return [[Segment(line, theme.error)] for line in lines]


def _without_run(marked: Sequence[str]) -> str:
    """Return the text of the pane if no single run is shown: the names of the marked runs, or advice."""
    if not marked:
        return with_keys(NO_RUN)
    subject, one = ("marked runs are", "one of them") if len(marked) > 1 else ("marked run is", "it")
    how_to_open = with_keys(f"To open {one}, press {{open_run}} in the runs tab ({{tab_runs}}).")
    return f"The {subject} shown: {', '.join(marked)}. {how_to_open}"


def table(facts: Iterable[Fact], width: int, theme: ChartTheme) -> list[Row]:
    """Return a table with one fact per row. Long facts are wrapped."""
    rows = []
    for fact in facts:
        style = theme.warning if fact.warning else theme.text
        for index, line in enumerate(_wrapped(fact.text, max(8, width - LABEL))):
            label = "" if index else fact.label
            rows.append([Segment(label.ljust(LABEL), theme.muted), Segment(line, style)])
    return rows


def packed(facts: Iterable[Fact], width: int, theme: ChartTheme, height: int | None = None) -> list[Row]:
    """Return rows of facts, with as many facts in each row as fit. A fact that is longer than a row is wrapped.

    Args:
        height: maximum number of rows. Facts for which there is no room are omitted.
    """
    rows: list[Row] = []
    for fact in facts:
        style = theme.warning if fact.warning else theme.text
        used = width_of(rows[-1]) + len(GAP) if rows else width
        if used + len(fact.words) <= width:
            rows[-1] += [Segment(GAP), Segment(f"{fact.label} ", theme.muted), Segment(fact.text, style)]
            continue
        first, *others = _wrapped(fact.words, max(8, width))
        if height is not None and len(rows) + 1 + len(others) > height:
            continue
        rows.append([Segment(f"{fact.label} ", theme.muted), Segment(first.removeprefix(f"{fact.label} "), style)])
        rows += [[Segment(line, style)] for line in others]
    return rows


def _wrapped(text: str, width: int) -> list[str]:
    """Wrap text, but not between a number and its unit."""
    return wrap_text(re.sub(r"(?<=\d) (?=[a-zA-Z])", NO_BREAK_SPACE, text), width)


class RunPane(Vertical, can_focus=True):
    """Shows facts about the run, and sparklines of its meta-loss and of its accuracy or meta-gradient norm."""

    BORDER_TITLE = "Run"

    def __init__(self) -> None:
        super().__init__(id="run", classes="pane in-run")
        self._numbers = RunNumbers()
        self._loss, self._other = MetricSparkline(id="spark-loss"), MetricSparkline(id="spark-other")
        row = Horizontal(self._loss, self._other, id="sparklines")
        self.resizable: tuple[Widget, ...] = (row, self._loss, self._other)
        """The widgets that get a different layout if the pane is in the left column."""

    def compose(self) -> ComposeResult:
        yield self._numbers
        yield self.resizable[0]

    def show(self, model: RunModel | None, phase: Phase, load: Load, marked: Sequence[str] = ()) -> None:
        """Show a run, or the names of marked runs if no run is shown. See `RunNumbers.show` for the arguments."""
        self._numbers.show(model, phase, load, marked)
        self._loss.show(model.meta_loss if model else History(), "Meta-loss", "Loss")
        if model and model.settings.is_classification:
            self._other.show(model.accuracy, accuracy_name(model.settings), "Accuracy", "Acc.", percent=True)
        else:
            self._other.show(model.grad_norm if model else History(), "Meta-gradient norm", "Gradient norm", "Norm")


def accuracy_name(settings: Settings) -> str:
    """Return the name of the training accuracy, with its number of inner steps if validations use another number."""
    steps = settings.algorithm.inner_steps
    differs = FIELDS["algorithm.inner_steps"].is_relevant(settings) and steps != settings.evaluation_steps
    return f"Accuracy after {format_count(steps, 'step')}" if differs else "Accuracy"


def facts_of(model: RunModel, load: Load, phase: Phase) -> list[Fact]:
    """Return the facts about a run, most important first. `phase` must be IDLE if the app does not follow the run."""
    facts = []
    if model.other_user:
        facts.append(Fact("read-only", f"user {model.other_user} is training this run", warning=True))
    if phase is Phase.STARTING:
        facts.append(Fact("starting", f"{model.stage}…"))
    if model.waits_because and phase is Phase.PAUSED:
        facts.append(Fact("paused", model.waits_because, warning=True))
    if model.packed:
        facts.append(Fact("images", "{:,} of {:,} packed".format(*model.packed)))
    if now := model.evaluating:
        tasks = f"{now.done:,} of {now.tasks:,} {split_name(now.split)} tasks"
        facts.append(Fact("evaluating", f"{tasks}{model.evaluation_left_text}"))
    facts += _results(model)
    spent = duration(model.seconds)
    if model.is_followed and model.remaining is not None:
        spent += f", {duration(model.remaining)} left"
    if model.seconds or phase is not Phase.STARTING:
        facts.append(Fact("time", spent))
    if model.is_followed and (speeds := model.speeds):
        facts.append(Fact("speed", f"{number(speeds[0])} meta-steps/s, {number(speeds[1])} tasks/s"))
    if model.is_followed:
        facts += [Fact(name, text) for name, text in load.facts()]
    if started := model.started:
        facts.append(Fact("device", f"{started.device} ({started.device_name})"))
        facts += [Fact("parameters", f"{started.parameters:,}")] if started.parameters else []
        facts.append(_engine(model, started))
    return facts


def _engine(model: RunModel, started: Started) -> Fact:
    """Return the engine of the next meta-step, and the reason for choosing it, which is also in the journal."""
    engine, reason = started.engine, started.engine_reason
    if (at := model.compiled_after) is not None and model.iteration < at:
        engine = f"batched, compiled after meta-step {at:,}"
        reason = re.sub(r"^after [\d,]+ meta-steps; ", "", reason)
    return Fact("engine", engine, detail=f" ({reason})" if reason else "")


def _results(model: RunModel) -> list[Fact]:
    """Return facts about the test result, and about the best and the last validation result."""
    facts = [Fact("test", result_words(model.test, model.best), not model.test.is_finite)] if model.test else []
    best, last = model.best, model.evaluation
    if best:
        # A test has the same protocol as the validations, apart from the tasks, so the protocol is shown only once.
        words = short_metric(best) if model.test or model.is_followed else headline(best)
        facts.append(Fact("best val", f"{words} at {best.iteration:,}"))
    if last and (best is None or best.iteration != last.iteration):
        facts.append(Fact("last val", f"{short_metric(last)} at {last.iteration:,}", not last.is_finite))
    return [*facts, Fact("targets", model.targets)] if facts and model.targets else facts


def _bar(model: RunModel, width: int, theme: ChartTheme) -> Row:
    if not FIELDS["training.iterations"].is_relevant(model.settings):
        return [Segment("no training", theme.muted)]
    done, total = model.iteration, max(1, model.settings.training.iterations)
    share = min(1.0, done / total)
    counts = f" {done:,} of {total:,}, {'early stop' if model.ended_early else f'{int(100 * share)} %'}"
    room = max(0, width - len(counts))
    filled = int(share * room)
    return [Segment(theme.glyphs.done * filled + theme.glyphs.todo * (room - filled) + counts, theme.text)]
