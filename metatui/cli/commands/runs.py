"""`metatui runs`: list the saved runs, export the metrics or the model of one, or delete some."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from metatui.cli.console.layout import plain, say, wrapped
from metatui.cli.console.output import console, echo, emit, evaluation_json, write_rows
from metatui.cli.options import (
    check_new_file,
    complete_runs,
    examples,
    force_option,
    json_option,
    new_file,
    runs_dir_option,
    to_option,
)
from metatui.config.registry import DATA
from metatui.events import Evaluation
from metatui.runs.analysis.metrics_csv import metrics_rows, validation_rows
from metatui.runs.formatting import file_size, headline, parameters, target_scales
from metatui.runs.storage.lock import holder
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.runs.storage.summary import RunSummary, summarise
from metatui.utils.errors import BadInput, MetatuiError, quote
from metatui.utils.paths import expanded
from metatui.utils.text import format_count

size_option = click.option("--size", is_flag=True, help="Also show the disk space that each run uses.")


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "metatui runs # list the runs",
        "metatui runs export latest --to metrics.csv",
        "metatui runs delete latest # delete the newest run",
    ),
)
@size_option
@runs_dir_option
@json_option
@click.pass_context
def runs(context: click.Context, size: bool, runs_dir: Path | None, as_json: bool) -> None:
    """List, export or delete saved runs. Without a command, the runs are listed, newest first."""
    if context.invoked_subcommand is None:
        _list(runs_dir, size, as_json)
    elif size or runs_dir or as_json:
        raise click.UsageError(
            f"options of '{context.invoked_subcommand}' must be given after '{context.invoked_subcommand}'"
        )


@runs.command(
    "list",
    epilog=examples(
        "metatui runs list",
        "metatui runs list --size # with the disk space of each run",
        "metatui runs list --json",
    ),
)
@size_option
@runs_dir_option
@json_option
def list_runs(size: bool, runs_dir: Path | None, as_json: bool) -> None:
    """List the saved runs, newest first."""
    _list(runs_dir, size, as_json)


@runs.command(
    epilog=examples(
        "metatui runs export latest # print the metrics of each meta-step",
        "metatui runs export latest --evaluations --to validations.csv",
        "metatui runs export latest --model --to model.safetensors",
    )
)
@click.argument("run", shell_complete=complete_runs)
@to_option
@click.option(
    "--evaluations",
    is_flag=True,
    help="Export the results of the validations instead of the metrics of the meta-steps.",
)
@click.option("--model", is_flag=True, help="Export the best parameters of the model to a safetensors file.")
@force_option
@runs_dir_option
def export(run: str, to: str, evaluations: bool, model: bool, force: bool, runs_dir: Path | None) -> None:
    """Export the metrics of RUN as CSV, or the model as safetensors.

    RUN is the name of a run, the beginning of its name, its folder, or latest for the newest run.

    A model file contains the tensors of module.state_dict(). The metadata of this file contains the settings, and the
    names of the classes or of the columns of a table. In Python, metatui.load_model loads the model of a run. You can
    then adapt this model to new tasks.
    """
    if model and evaluations:
        raise click.UsageError("--model and --evaluations cannot be used together")
    folder = RunStore(runs_dir).find(run)
    if model:
        _export_model(folder, to, force=force)
        return
    rows = validation_rows(folder) if evaluations else metrics_rows(folder)
    path = new_file(to, force=force)
    count = write_rows(rows, path) - 1
    if path is not None:
        say(console(), f"Wrote {format_count(count, 'row')} to {path}")


def _export_model(run: RunFolder, to: str, *, force: bool) -> None:
    if not to.endswith(".safetensors"):
        raise BadInput(f"--to is {quote(to, 200)}, but with --model it must be a file name that ends in .safetensors")
    path = expanded(to)
    check_new_file(path, "--to", force=force)

    from metatui.runs.analysis.saved_model import extra_file, load_model

    model = load_model(run, device="cpu")
    if model.extra:
        check_new_file(extra_file(path), "the file of meta-parameters next to the model file", force=force)
    model.save(path)
    screen, count = console(), len(model.module.state_dict())
    say(
        screen,
        f"Wrote {count} tensors to {path}: the {model.checkpoint} parameters, from meta-step {model.iteration:,}",
    )
    if model.extra:
        tensors = format_count(len(model.extra), "tensor")
        say(
            screen,
            f"Wrote {tensors} to {extra_file(path)}: the meta-parameters that are not part of the network",
        )


@runs.command(
    epilog=examples(
        "metatui runs delete maml-sinusoid-20261122",
        "metatui runs delete latest latest~1 --yes # the two newest, without asking",
    )
)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_runs)
@click.option("--yes", is_flag=True, help="Delete without asking.")
@runs_dir_option
@json_option
def delete(runs: tuple[str, ...], yes: bool, runs_dir: Path | None, as_json: bool) -> None:
    """Delete runs with their metrics and checkpoints. This cannot be undone.

    RUN is the name of a run, the beginning of its name, its folder, or latest for the newest run. To delete a run that
    is still training, stop it first. If one of the runs cannot be found or is still training, nothing is deleted. If
    RUN is a symbolic link to a folder, only the link is deleted.
    """
    store = RunStore(runs_dir)
    folders = list({_own_path(folder): folder for folder in map(store.find, runs)}.values())
    for folder in folders:
        if folder.is_live():
            raise BadInput(f"run {quote(folder.id)} is in use by {holder(folder.lock_path)}: stop the run first")
    sizes = [0 if folder.link_target else folder.size() for folder in folders]
    if not yes:
        _confirm(folders, sizes)
    for folder in folders:
        target = folder.link_target
        store.delete(folder)
        if not as_json:
            kept = f", which was a link; its target {target} is kept" if target else ""
            say(console(), f"Deleted {folder.id}{kept}")
    if as_json:
        emit({"deleted": [folder.id for folder in folders], "bytes": sum(sizes)})


def _own_path(run: RunFolder) -> Path:
    """Return the path of a run, with links in its parent folders resolved. A link to the run keeps its own path."""
    return run.path.parent.resolve() / run.path.name if run.link_target else run.path.resolve()


def _confirm(folders: Sequence[RunFolder], sizes: Sequence[int]) -> None:
    """Ask on standard error whether to delete runs.

    Raises:
        BadInput: if standard input is not a terminal.
        MetatuiError: if the answer is no.
    """
    if not can_answer():
        raise BadInput(
            "cannot ask for confirmation, because standard input is not a terminal: use --yes to delete anyway"
        )
    for folder, size in zip(folders, sizes, strict=True):
        summary = summarise(folder)
        space = f"link to {target}, which is kept" if (target := folder.link_target) else file_size(size)
        text = f"{folder.id}  {summary.status}, {_progress(summary)}, {space}"
        say(console(stderr=True), text)
    which = "this run" if len(folders) == 1 else f"these {len(folders)} runs ({file_size(sum(sizes))})"
    if not click.confirm(f"Delete {which}? This cannot be undone.", err=True):
        raise MetatuiError("nothing was deleted")


def can_answer() -> bool:
    """Return whether a user can answer a question on standard input."""
    return bool(sys.stdin and sys.stdin.isatty())


def _list(runs_dir: Path | None, with_size: bool, as_json: bool) -> None:
    store = RunStore(runs_dir)
    store.check_root()
    summaries = store.summaries()
    if names := store.forbidden():
        more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
        echo(f"note: {', '.join(map(quote, names[:3]))}{more} cannot be read: permission denied", err=True)
    sizes = [summary.run.size() if with_size else None for summary in summaries]
    if as_json:
        reports = [_report(summary, size) for summary, size in zip(summaries, sizes, strict=True)]
        emit({"dir": str(store.root), "runs": reports})
        return
    screen = console()
    if not summaries:
        say(screen, f"There are no runs in {store.root} yet. Train one with: metatui run quick")
        return
    width = max(len(summary.id) for summary in summaries)
    several = len({summary.seed for summary in summaries} - {None}) > 1
    lines = Text()  # printed in one call, because ten thousand calls take seconds
    for summary, size in zip(summaries, sizes, strict=True):
        space = f"{file_size(size):>8}  " if size is not None else ""
        first = f"{summary.id:{width}}  {summary.status:11}  {space}{_progress(summary, with_seed=several)}"
        lines.append("\n".join(wrapped(plain(screen, first), screen.width, 0, 4)) + "\n")
        warning = f"warning: {summary.warning}" if summary.warning else None
        reason = f"{summary.status}: {summary.reason}" if summary.reason else None
        for detail in filter(None, (reason, *_results(summary), _targets(summary), warning, summary.problem)):
            lines.append("\n".join(wrapped(plain(screen, detail), screen.width, 4, 4)) + "\n", "dim")
    if with_size:
        total = file_size(sum(size or 0 for size in sizes))
        lines.append(f"{format_count(len(summaries), 'run')}, {total}\n")
    screen.print(lines, end="", soft_wrap=True)


def _progress(summary: RunSummary, *, with_seed: bool = False) -> str:
    """Describe the progress of a run. The seed is included if it is not zero or if `with_seed` is True."""
    from metatui.runs.execution.control.client import activity_of

    total = f" of {summary.iterations:,}" if summary.iterations is not None else ""
    seed = f"seed {summary.seed}" if summary.seed is not None and (summary.seed or with_seed) else ""
    parts = (f"{summary.iteration:,}{total} meta-steps", seed, activity_of(summary), summary.process)
    return ", ".join(filter(None, parts))


def _results(summary: RunSummary) -> Iterator[str]:
    """Yield a line about the test or, if the run was not tested, lines about the best and the last validation.

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


def _targets(summary: RunSummary) -> str:
    """Describe the unit of the losses of a run; return an empty string if they have none or there is no result."""
    settings = summary.settings
    has_unit = settings is not None and DATA[settings.task.source].loss_of
    text = target_scales(summary.run) if has_unit and (summary.test or summary.validation) else ""
    return f"targets {text}" if text else ""


def _result(name: str, evaluation: Evaluation) -> str:
    return f"{name}, {parameters(evaluation)}: {headline(evaluation, level=True)}"


def _report(summary: RunSummary, size: int | None) -> dict[str, Any]:
    settings, progress = summary.settings, summary.progress
    return {
        "run": summary.id,
        "dir": str(summary.run.path),
        "status": summary.status,
        "reason": summary.reason,
        "started": summary.started.isoformat(timespec="seconds"),
        "preset": summary.preset,
        "algorithm": settings.algorithm.name if settings else None,
        "task": settings.task.source if settings else None,
        "seed": summary.seed,
        "iterations": summary.iteration,
        "total_iterations": summary.iterations,
        "meta_loss": progress.meta_loss if progress else None,
        "accuracy": progress.accuracy if progress else None,
        "best": evaluation_json(summary.id, summary.best),
        "validation": evaluation_json(summary.id, summary.validation),
        "test": evaluation_json(summary.id, summary.test),
        "warning": summary.warning,
        "problem": summary.problem,
        "pid": summary.pid if summary.status in ("running", "paused") else None,
        "host": summary.host,
        "died": summary.died,
        "bytes": size,
    }
