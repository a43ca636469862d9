"""What commands print: JSON on standard output, tables for people, and numbers that carry their protocol."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import IO, Any, TextIO, cast

import click
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from metatui.events import Curve, Evaluation
from metatui.runs.storage.jsonl import finite
from metatui.utils import numbers
from metatui.utils.errors import MetatuiError
from metatui.utils.files import reason
from metatui.utils.text import sanitize

STAND_INS = {"±": "+/-", "−": "-", "–": "-", "µ": "u", "α": "alpha"}
"""Substitutes for characters that a terminal may lack."""


def emit(item: Mapping[str, Any]) -> None:
    """One JSON object on standard output; numbers that JSON has no word for are null. Raises MetatuiError."""
    if sys.stdout:
        click.echo(json.dumps(finite(item), indent=2, allow_nan=False), file=cast("IO[str]", _Output(sys.stdout)))


class _Stream(io.TextIOBase):
    """`stream`, where it is not said in a traceback that it takes no more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._refusing():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._refusing():
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """For standard error: where the terminal is gone, a pipe has lost its reader or a log's disk is full, what was
        to be shown is not worth the run that it is about."""
        with suppress(OSError, ValueError):
            yield


class _Output(_Stream):
    """For standard output, which somebody wants to have whole."""

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:  # nobody does any more
            raise
        except OSError as error:
            raise MetatuiError(f"standard output cannot be written: {reason(error)}") from None


def console(*, stderr: bool = False) -> Console:
    """A console that honours NO_COLOR, and takes names from outside literally. What standard error does not take is
    dropped; where standard output does not, MetatuiError is raised."""
    stream = sys.stderr if stderr else sys.stdout
    file = (_Stream if stderr else _Output)(stream) if stream else None
    return Console(file=cast("IO[str] | None", file), stderr=stderr, highlight=False, markup=False, emoji=False)


def table(*columns: str, numbers: tuple[str, ...] = (), edge: bool = True) -> Table:
    """An empty table; the columns named in `numbers` are right-aligned. Without `edge` there is no room around it."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=edge)
    for name in columns:
        right = name in numbers
        made.add_column(name, justify="right" if right else "left", no_wrap=right, overflow="fold")
    return made


def below(screen: Console, lines: Iterable[str]) -> None:
    """Prints `lines` indented, wrapped to the width: what belongs to the line above."""
    for text in lines:
        screen.print(Padding(Text(sanitize(text, limit=2000), style="dim"), (0, 0, 0, 4)))


def cell(value: object) -> Text:
    """`value` as it stands in a table; nothing for None."""
    return Text("" if value is None else sanitize(str(value), limit=2000))


def evaluation_json(run: str, evaluation: Evaluation | None) -> dict[str, Any] | None:
    """An evaluation of the run `run` as `evaluate --json` prints it."""
    if evaluation is None:
        return None
    return {
        "run": run,
        "split": evaluation.split,
        "tasks": evaluation.tasks,
        "steps": evaluation.steps,
        "loss": asdict(evaluation.loss),
        "accuracy": asdict(evaluation.accuracy) if evaluation.accuracy else None,
        "batch_norm": evaluation.batch_norm,
        "ways": evaluation.ways,
        "shots": evaluation.shots,
        "queries": evaluation.queries,
        "iteration": evaluation.iteration,
        "seconds": evaluation.seconds,
        "inner_lr": evaluation.inner_lr,
        "diverged": evaluation.diverged,
        "checkpoint": evaluation.checkpoint,
    }


def protocol(evaluation: Evaluation) -> str:
    """By what rules an evaluation's numbers were measured."""
    ways = f"{evaluation.ways}-way " if evaluation.ways else ""
    norm = f", {evaluation.batch_norm} batch norm" if evaluation.batch_norm else ""
    return f"{evaluation.split} split, {evaluation.tasks:,} tasks, {ways}{evaluation.shots}-shot, 95 % interval{norm}"


def interval(curve: Curve, step: int, *, percent: bool) -> str:
    """The mean at an inner step, plus or minus the half-width of its 95 % interval."""
    mean, half = curve.mean[step], curve.ci95[step]
    if percent and math.isfinite(mean):
        return f"{numbers.interval(100 * mean, 100 * half, decimals=2)} %"
    return numbers.interval(mean, half, decimals=4)


def headline(evaluation: Evaluation) -> str:
    """The metric after the last inner step, and how many tasks diverged, if any."""
    lost = numbers.diverged(evaluation.diverged, evaluation.tasks) if evaluation.diverged else ""
    after = f"after {evaluation.steps[-1]} inner steps"
    if lost and not evaluation.is_finite:
        return f"{lost} {after}"
    curve, name = (evaluation.accuracy, "accuracy") if evaluation.accuracy else (evaluation.loss, "loss")
    number = interval(curve, -1, percent=evaluation.accuracy is not None)
    return f"{name} {number} {after}" + (f", {lost}" if lost else "")


def adapted(evaluation: Evaluation, rate_source: str = "") -> str:
    """The inner learning rate, and which parameters were adapted: `α = 0.01, best at meta-step 2,100`.

    Args:
        rate_source: follows the rate where it is not that of the best validation, such as ` (--inner-lr)`.
    """
    rate = "" if evaluation.inner_lr is None else f"α = {evaluation.inner_lr:g}{rate_source}, "
    which = f"{evaluation.checkpoint} at " if evaluation.checkpoint else ""
    return f"{rate}{which}meta-step {evaluation.iteration:,}"


def spelled(screen: Console, text: str) -> str:
    """`text` with substitutes for characters that the terminal lacks."""
    for sign, instead in STAND_INS.items():
        try:
            sign.encode(screen.encoding)
        except (UnicodeError, LookupError):
            text = text.replace(sign, instead)
    return text
