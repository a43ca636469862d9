"""`metatui runs`: what is on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from metatui.cli.options import json_option, runs_dir_option
from metatui.cli.output import below, console, emit, evaluation_json, headline, plus_minus, protocol
from metatui.runs.store import RunStore
from metatui.runs.summary import RunSummary


@click.command()
@runs_dir_option
@json_option
def runs(runs_dir: Path | None, as_json: bool) -> None:
    """List the runs on disk, newest first."""
    store = RunStore(runs_dir)
    summaries = store.summaries()
    if as_json:
        emit({"dir": str(store.root), "runs": [_report(summary) for summary in summaries]})
        return
    screen = console()
    if not summaries:
        screen.print(f"No runs in {store.root} yet: metatui run quick makes one.", soft_wrap=True)
        return
    sign = plus_minus(screen)
    width = max(len(summary.id) for summary in summaries)
    for summary in summaries:
        screen.print(f"{summary.id:{width}}  {summary.status:11}  {_reached(summary)}", soft_wrap=True)
        below(screen, filter(None, (_measured(summary, sign), summary.problem)))


def _reached(summary: RunSummary) -> str:
    total = f" of {summary.settings.training.iterations:,}" if summary.settings else ""
    loss = f", meta-loss {summary.progress.meta_loss:.4g}" if summary.progress else ""
    return f"{summary.iteration:,}{total} meta-steps{loss}"


def _measured(summary: RunSummary, sign: str) -> str | None:
    evaluation = summary.test or summary.best
    return f"{headline(evaluation, plus_minus=sign)} ({protocol(evaluation)})" if evaluation else None


def _report(summary: RunSummary) -> dict[str, Any]:
    settings, progress = summary.settings, summary.progress
    return {
        "run": summary.id,
        "dir": str(summary.run.path),
        "status": summary.status,
        "started": summary.started.isoformat(timespec="seconds"),
        "preset": summary.preset,
        "algorithm": settings.algorithm.name if settings else None,
        "task": settings.task.source if settings else None,
        "iterations": summary.iteration,
        "meta_loss": progress.meta_loss if progress else None,
        "accuracy": progress.accuracy if progress else None,
        "best": evaluation_json(summary.id, summary.best),
        "test": evaluation_json(summary.id, summary.test),
        "problem": summary.problem,
    }
