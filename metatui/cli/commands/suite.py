"""`metatui suite`: train and compare a list of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metatui.cli.console.layout import say
from metatui.cli.console.output import console, emit
from metatui.cli.options import (
    check_new_files,
    examples,
    export_option,
    force_option,
    json_option,
    names_or_file,
    parse_settings,
    runs_dir_option,
    set_option,
)
from metatui.utils.errors import BadInput, MetatuiError, quote
from metatui.utils.text import format_count

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from metatui.runs.analysis.comparison import Comparison
    from metatui.runs.storage.store import RunStore
    from metatui.runs.suites import PlannedComparison, Suite, SuiteManifest

    Comparisons = Mapping[str, Comparison | None]


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from metatui.config import presets
    from metatui.runs.suites import files

    return names_or_file([*files.names(), *presets.names()], incomplete)


@click.command(
    epilog=examples(
        "metatui suite # list the suites",
        "metatui suite chapter-small --list # show its runs",
        "metatui suite chapter-small # train and compare its runs",
        "metatui suite quick --set training.seed=1 --export result.md",
    )
)
@click.argument("suites", nargs=-1, metavar="[SUITE|PRESET|FILE]...", shell_complete=_complete)
@set_option
@click.option(
    "--devices",
    metavar="DEVICE,DEVICE...",
    help="Devices to train on, such as cuda:0,cuda:1. Each device trains one run at a time. By default, one run "
    "trains at a time, on the device in its settings.",
)
@runs_dir_option
@click.option("--list", "only_list", is_flag=True, help="List the runs and their status without training.")
@json_option
@export_option
@force_option
@click.pass_context
def suite(
    context: click.Context,
    suites: tuple[str, ...],
    assignments: tuple[str, ...],
    devices: str | None,
    runs_dir: Path | None,
    only_list: bool,
    as_json: bool,
    exports: tuple[Path, ...],
    force: bool,
) -> None:
    """Train all runs of suites or presets, then compare them. Without arguments, the suites are listed.

    Each run trains in its own process and is saved like any other run. Ctrl-C saves and stops the runs; the same
    command continues them, and does not repeat finished runs. It also replaces the files that it exported before,
    unless they have been changed since; other existing files are replaced only with --force.
    """
    from metatui.cli.console import suite_output as output
    from metatui.runs.storage.store import RunStore
    from metatui.runs.suites import SuiteManifest, load

    if not suites:
        output.show_list(as_json)
        return
    device_names = _devices(devices)
    store = RunStore(runs_dir)
    loaded = load(suites, parse_settings(assignments))
    if only_list:
        output.show_plan(loaded, store, as_json)
        return
    files = _files(loaded, exports, store, force=force)
    failed: list[str] = []
    for each in loaded:
        sentences, completed = _train(each, store, device_names)
        failed += sentences
        if not completed:
            if as_json:
                emit(output.report(loaded, store))
            say(console(stderr=True), "interrupted: run the same command to continue")
            context.exit(130)
    results = {each.name: _compare(each, store, device_names[0]) for each in loaded}
    try:
        for each in loaded:
            for name, path in files[each.name]:
                if comparison := results[each.name][name]:
                    _export(comparison, path, SuiteManifest(each, store))
    finally:  # a result is not lost because a file cannot be written
        if as_json:
            emit(output.report(loaded, store, results))
        else:
            for each in loaded:
                output.show_results(each, results[each.name])
    if failed:
        raise MetatuiError(
            f"{format_count(len(failed), 'run')} failed (run the same command to try again): {'; '.join(failed)}"
        )


def _devices(text: str | None) -> list[str | None]:
    """Return the devices given with `--devices`, or [None] for the device in the settings of each run."""
    from metatui.config.fields import change
    from metatui.config.settings import Settings

    if text is None:
        return [None]
    names = text.split(",")
    for name in names:
        change(Settings(), {"compute.device": name})
    return list(names)


def _files(
    loaded: Sequence[Suite], exports: Sequence[Path], store: RunStore, *, force: bool
) -> dict[str, list[tuple[str, Path]]]:
    """Check the files given with `--export`, and return pairs of comparison name and file, keyed by suite name.

    Raises:
        BadInput: if a file cannot be written, may not be replaced, or would be written for two comparisons.
    """
    if not exports:
        return {each.name: [] for each in loaded}
    from metatui.runs.analysis.exports import check
    from metatui.runs.suites import SuiteManifest

    for path in exports:
        check(path)
    several = sum(len(each.comparisons) for each in loaded) > 1

    def file_of(path: Path, suite: Suite, comparison: PlannedComparison) -> Path:
        if not several:
            return path
        parts = [path.stem, *([suite.name] if len(loaded) > 1 else []), comparison.name]
        return path.with_name("-".join(parts) + path.suffix)

    files = {
        each.name: [(part.name, file_of(path, each, part)) for part in each.comparisons for path in exports]
        for each in loaded
    }
    contents: dict[Path, str] = {}
    for each in loaded:
        replaceable = SuiteManifest(each, store).has_exported
        for name, path in files[each.name]:
            content = f"comparison {quote(name)} of suite {quote(each.name)}"
            if (other := contents.setdefault(path, content)) != content:
                raise BadInput(
                    f"--export would write {other} and {content} to the same file {quote(str(path), 200)}: use "
                    "separate commands with different file names"
                )
            check_new_files(path, "--export", force=force, replaceable=replaceable)
    return files


def _train(suite: Suite, store: RunStore, devices: Sequence[str | None]) -> tuple[list[str], bool]:
    """Train the unfinished runs; return a message for each failed run, and True unless a run was interrupted."""
    from metatui.cli.console.suite_progress import display
    from metatui.runs.execution.signals import ending_softly
    from metatui.runs.suites import RunEnded, SuiteManifest, SuiteRunner

    failed, completed = [], True
    with SuiteManifest(suite, store) as manifest:
        waiting = manifest.missing()
        runner = SuiteRunner(manifest, waiting, devices=devices)
        with (
            ending_softly(lambda cause: runner.interrupt()),
            display(suite, len(suite.runs) - len(waiting)) as progress,
            closing(iter(runner)) as events,
        ):
            for event in events:
                progress.update(event)
                if isinstance(event, RunEnded) and event.status == "failed":
                    failed.append(f"{event.planned.name}: {event.sentence}")
                # A signal such as SIGXCPU can also interrupt the process of a single run.
                completed &= not (isinstance(event, RunEnded) and event.status == "interrupted")
    return failed, completed and not runner.interrupted


def _compare(suite: Suite, store: RunStore, device: str | None) -> Comparisons:
    """Compare the finished runs of each comparison. The result of a comparison without finished runs is None."""
    from metatui.cli.commands.compare import progress_bar
    from metatui.runs.analysis.comparison import compare
    from metatui.runs.suites import SuiteManifest

    runs = SuiteManifest(suite, store).runs()
    comparisons: dict[str, Comparison | None] = {}
    for part in suite.comparisons:
        folders = [runs[run.identity] for run in part.runs if run.identity in runs]
        finished = [folder for folder in folders if folder.status() == "finished"]
        comparisons[part.name] = None
        if finished:
            with progress_bar() as on_progress:
                comparisons[part.name] = compare(
                    *finished,
                    tasks=part.tasks,
                    steps=part.steps,
                    shots=part.shots,
                    target=part.target,
                    device=device,
                    titles=part.titles(runs),
                    on_progress=on_progress,
                )
    return comparisons


def _export(comparison: Comparison, path: Path, manifest: SuiteManifest) -> None:
    from metatui.runs.analysis.exports import describe_written_files, export

    files = export(comparison, path)
    with suppress(MetatuiError):  # without the record, only --force replaces these files
        manifest.add_exports(files)
    say(console(stderr=True), describe_written_files(files))
