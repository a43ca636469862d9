"""`metatui runs`: list the saved runs, or export one."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from metatui.cli.console.layout import plain, say, wrapped
from metatui.cli.console.output import console, emit, evaluation_json
from metatui.cli.options import check_new_file, complete_runs, examples, json_option, runs_dir_option
from metatui.events import Evaluation
from metatui.runs.analysis.metrics_csv import metrics_rows, validation_rows, write_csv
from metatui.runs.formatting import headline, parameters
from metatui.runs.storage.lock import holder, owner_of
from metatui.runs.storage.store import RunStore
from metatui.runs.storage.summary import RunSummary
from metatui.utils.files import replacing
from metatui.utils.paths import expanded


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "metatui runs # list the runs",
        "metatui runs export latest --to metrics.csv",
    ),
)
@runs_dir_option
@json_option
@click.pass_context
def runs(context: click.Context, runs_dir: Path | None, as_json: bool) -> None:
    """List the saved runs, newest first, or export one; without a command, list them."""
    if context.invoked_subcommand is None:
        _list(runs_dir, as_json)
    elif runs_dir or as_json:
        raise click.UsageError(f"give options of '{context.invoked_subcommand}' after its name")


@runs.command(
    "list",
    epilog=examples(
        "metatui runs list",
        "metatui runs list --json",
    ),
)
@runs_dir_option
@json_option
def list_runs(runs_dir: Path | None, as_json: bool) -> None:
    """List the saved runs, newest first."""
    _list(runs_dir, as_json)


@runs.command(
    epilog=examples(
        "metatui runs export latest # print the metrics of each meta-step",
        "metatui runs export latest --evaluations --to validations.csv",
    )
)
@click.argument("run", shell_complete=complete_runs)
@click.option("--to", metavar="FILE|-", default="-", show_default=True, help="File to write, or - for standard output.")
@click.option("--evaluations", is_flag=True, help="Export the validations instead of the meta-steps.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@runs_dir_option
def export(run: str, to: str, evaluations: bool, force: bool, runs_dir: Path | None) -> None:
    """Export the metrics of every meta-step of RUN as CSV.

    RUN is the name of a run, the start of its name, its folder, or latest for the newest run.
    """
    folder = RunStore(runs_dir).find(run)
    rows = validation_rows(folder) if evaluations else metrics_rows(folder)
    if to == "-":
        write_csv(rows, sys.stdout)
        return
    path = expanded(to)
    check_new_file(path, "--to", force=force)
    with replacing(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        count = write_csv(rows, text) - 1
        text.detach()
    say(console(), f"Wrote {count:,} row{'' if count == 1 else 's'} to {path}")


def _list(runs_dir: Path | None, as_json: bool) -> None:
    store = RunStore(runs_dir)
    store.check_root()
    summaries = store.summaries()
    if as_json:
        emit({"dir": str(store.root), "runs": [_report(summary) for summary in summaries]})
        return
    screen = console()
    if not summaries:
        say(screen, f"There are no runs in {store.root} yet: metatui run quick trains one.")
        return
    width = max(len(summary.id) for summary in summaries)
    lines = Text()  # printed in one call, because ten thousand calls take seconds
    for summary in summaries:
        process = f", {holder(summary.run.lock_path)}" if summary.status in ("running", "paused") else ""
        first = f"{summary.id:{width}}  {summary.status:11}  {_progress(summary)}{process}"
        lines.append("\n".join(wrapped(plain(screen, first), screen.width, 0, 4)) + "\n")
        warning = f"warning: {summary.warning}" if summary.warning else None
        reason = f"{summary.status}: {summary.reason}" if summary.reason else None
        for detail in filter(None, (reason, *_results(summary), warning, summary.problem)):
            lines.append("\n".join(wrapped(plain(screen, detail), screen.width, 4, 4)) + "\n", "dim")
    screen.print(lines, end="", soft_wrap=True)


def _progress(summary: RunSummary) -> str:
    total = f" of {summary.settings.training.iterations:,}" if summary.settings else ""
    return f"{summary.iteration:,}{total} meta-steps"


def _results(summary: RunSummary) -> Iterator[str]:
    """Yield a line about the test or, if there is none, lines about the best and the last validation.

    A run that has not been evaluated yet is described by the meta-loss of its last meta-step.
    """
    best, last = summary.best, summary.validation
    if summary.test:
        yield _result("test", summary.test)
        return
    if summary.progress and not (best or last):
        yield f"meta-loss {summary.progress.meta_loss:.4g}"
    if best:
        yield _result("best validation", best)
    if last and (best is None or best.iteration != last.iteration):
        yield _result("last validation", last)


def _result(name: str, evaluation: Evaluation) -> str:
    return f"{name}, {parameters(evaluation)}: {headline(evaluation, level=True)}"


def _pid(summary: RunSummary) -> int | None:
    """Return the process that trains a live run."""
    owner = owner_of(summary.run.lock_path) if summary.status in ("running", "paused") else None
    pid = owner.get("pid") if owner else None
    return pid if isinstance(pid, int) else None


def _report(summary: RunSummary) -> dict[str, Any]:
    settings, progress = summary.settings, summary.progress
    return {
        "run": summary.id,
        "dir": str(summary.run.path),
        "status": summary.status,
        "reason": summary.reason,
        "pid": _pid(summary),
        "started": summary.started.isoformat(timespec="seconds"),
        "preset": summary.preset,
        "algorithm": settings.algorithm.name if settings else None,
        "task": settings.task.source if settings else None,
        "iterations": summary.iteration,
        "meta_loss": progress.meta_loss if progress else None,
        "accuracy": progress.accuracy if progress else None,
        "best": evaluation_json(summary.id, summary.best),
        "validation": evaluation_json(summary.id, summary.validation),
        "test": evaluation_json(summary.id, summary.test),
        "warning": summary.warning,
        "problem": summary.problem,
    }
