"""Output of commands: JSON and tables on standard output, messages on standard error."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO, cast

import click
from rich.console import Console

from metatui.events import Evaluation
from metatui.learning.data.data_set import caveat
from metatui.runs.analysis.metrics_csv import Row, write_csv
from metatui.runs.storage.jsonl import finite
from metatui.utils.errors import MetatuiError
from metatui.utils.files import reason, replacing

UNLIMITED = 10_000
"""Width for output to a file or a pipe, large enough that no line is wrapped."""


def emit(item: Mapping[str, Any]) -> None:
    """Print one JSON object with `echo`, with null for numbers that are not finite."""
    echo(json.dumps(finite(item), indent=2, allow_nan=False))


def echo(text: object, *, nl: bool = True, err: bool = False) -> None:
    """Print `text` as it is, without wrapping it. Raises the same errors as `console`."""
    if file := stream(stderr=err):
        click.echo(text, file=file, nl=nl)


class _Stream(io.TextIOBase):
    """Standard error that ignores write errors: messages are lost if the terminal is closed or the disk is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._guarded():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._guarded():
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with suppress(OSError, ValueError):
            yield


class _Output(_Stream):
    """Standard output that ends the command after a write error, so that partial output does not look complete."""

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:  # the reader has closed the pipe, which `main` handles
            raise
        except OSError as error:
            raise MetatuiError(f"standard output cannot be written: {reason(error)}") from None


def stream(*, stderr: bool = False) -> TextIO | None:
    """Return standard output or standard error with the error handling of `console`; None if it is closed."""
    if stderr:
        return cast("TextIO", _Stream(sys.stderr)) if sys.stderr else None
    return cast("TextIO", _Output(sys.stdout)) if sys.stdout else None


def write_rows(rows: Iterable[Row], path: Path | None) -> int:
    """Write `rows` as CSV to the file `path` or, if it is None, to standard output. Returns the number of rows.

    Raises:
        WriteRefusedError: if the file cannot be written.
        MetatuiError: if standard output cannot be written.
    """
    if path is None:
        output = stream()
        if output is None:
            return 0
        count = write_csv(rows, output)
        output.flush()
        return count
    with replacing(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        count = write_csv(rows, text)
        text.detach()
        return count


def console(*, stderr: bool = False) -> Console:
    """Return a console that honours NO_COLOR and COLUMNS, and prints text without interpreting markup.

    Without a terminal, it prints no colours, and wraps lines only if COLUMNS is set. Errors when writing to standard
    error are ignored; on standard output they raise MetatuiError.
    """
    screen = Console(file=stream(stderr=stderr), stderr=stderr, highlight=False, markup=False, emoji=False)
    if not screen.is_terminal and "COLUMNS" not in os.environ:
        screen.width = UNLIMITED
    return screen


def evaluation_json(run: str, evaluation: Evaluation | None) -> dict[str, Any] | None:
    """Return an evaluation of a run in the format of `evaluate --json`."""
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
        "caveat": caveat(evaluation) or None,
    }


def result_json(evaluation: Evaluation | None) -> dict[str, Any] | None:
    """Return the metric after the last inner step; None if there is no evaluation or too many tasks diverged."""
    if evaluation is None or not evaluation.is_finite:
        return None
    mean, ci95 = evaluation.final
    return {
        "metric": "accuracy" if evaluation.accuracy else "loss",
        "mean": mean,
        "ci95": ci95,
        "inner_steps": evaluation.steps[-1],
        "split": evaluation.split,
        "tasks": evaluation.tasks,
        "iteration": evaluation.iteration,
    }
