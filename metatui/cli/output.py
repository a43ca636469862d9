"""What commands print: JSON on standard output, tables for people, and numbers that carry their protocol."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from metatui.learning.events import Curve, Evaluation
from metatui.runs.lines import finite
from metatui.text import plain


def emit(item: Mapping[str, Any]) -> None:
    """One JSON object on standard output; numbers that JSON has no word for are null."""
    click.echo(json.dumps(finite(item), indent=2, allow_nan=False))


def console(*, stderr: bool = False) -> Console:
    """A console that honours NO_COLOR, and takes names from outside literally."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """An empty table; the columns named in `numbers` are right-aligned."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        right = name in numbers
        made.add_column(name, justify="right" if right else "left", no_wrap=right, overflow="fold")
    return made


def below(screen: Console, lines: Iterable[str]) -> None:
    """Prints `lines` indented, wrapped to the width: what belongs to the line above."""
    for text in lines:
        screen.print(Padding(Text(plain(text, limit=2000), style="dim"), (0, 0, 0, 4)))


def cell(value: object) -> Text:
    """`value` as it stands in a table; nothing for None."""
    return Text("" if value is None else plain(str(value), limit=2000))


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
    }


def protocol(evaluation: Evaluation) -> str:
    """By what rules an evaluation's numbers were measured."""
    ways = f"{evaluation.ways}-way " if evaluation.ways else ""
    norm = f", {evaluation.batch_norm} batch norm" if evaluation.batch_norm else ""
    return f"{evaluation.split} split, {evaluation.tasks:,} tasks, {ways}{evaluation.shots}-shot, 95 % interval{norm}"


def interval(curve: Curve, step: int, *, percent: bool, plus_minus: str = "±") -> str:
    """The mean at an inner step, plus or minus the half-width of its 95 % interval."""
    mean, half = curve.mean[step], curve.ci95[step]
    if percent:
        return f"{100 * mean:.2f} {plus_minus} {100 * half:.2f} %"
    return f"{mean:.4f} {plus_minus} {half:.4f}"


def headline(evaluation: Evaluation, *, plus_minus: str = "±") -> str:
    """The metric after the last inner step."""
    curve, name = (evaluation.accuracy, "accuracy") if evaluation.accuracy else (evaluation.loss, "loss")
    number = interval(curve, -1, percent=evaluation.accuracy is not None, plus_minus=plus_minus)
    return f"{name} {number} after {evaluation.steps[-1]} inner steps"


def plus_minus(screen: Console) -> str:
    """The sign, or what stands for it where the terminal has no such character."""
    try:
        "±".encode(screen.encoding)
    except (UnicodeError, LookupError):
        return "+/-"
    return "±"
