"""`metatui suite`: a list of runs made and compared, stopped and gone on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metatui.cli.console.output import console, emit
from metatui.cli.options import changes, json_option, runs_dir_option, set_option
from metatui.utils.errors import MetatuiError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from metatui.runs.analysis.comparison import Comparison
    from metatui.runs.storage.store import RunStore
    from metatui.runs.suites import PlannedComparison, Suite

    Comparisons = Mapping[str, Comparison | None]


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from metatui.config import presets
    from metatui.runs.suites import files

    names = [*files.names(), *presets.names()]
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


@click.command()
@click.argument("suites", nargs=-1, metavar="[SUITE|PRESET|FILE]...", shell_complete=_complete)
@set_option
@click.option(
    "--devices", metavar="DEVICE,DEVICE...",
    help="One run at a time on each, such as cuda:0,cuda:1; else one after the other, where their settings say.",
)  # fmt: skip
@runs_dir_option
@click.option("--list", "only_list", is_flag=True, help="Show what would be run, and how far each run is.")
@json_option
@click.option(
    "--export", "exports", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
    help="Write the comparison to a .md, .html, .csv, .json or .svg file; of several, each to one with its name.",
)  # fmt: skip
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
) -> None:
    """Train every run of a suite, or presets, then compare them. Without any, list the suites there are.

    Each is an ordinary run in a process of its own. Ctrl-C lets it save and stops; the same command goes on where it
    was, and makes nothing again that is finished.
    """
    from metatui.cli.console import suite_output as output
    from metatui.runs.storage.store import RunStore
    from metatui.runs.suites import load

    if not suites:
        output.listed(as_json)
        return
    places = _devices(devices)
    store = RunStore(runs_dir)
    loaded = load(suites, changes(assignments))
    if only_list:
        output.planned(loaded, store, as_json)
        return
    files = _files(loaded, exports)
    failed: list[str] = []
    for each in loaded:
        sentences, whole = _train(each, store, places)
        failed += sentences
        if not whole:
            if as_json:
                emit(output.report(loaded, store))
            console(stderr=True).print("interrupted: the same command goes on", soft_wrap=True)
            context.exit(130)
    comparisons = [(each, _compared(each, store, places[0])) for each in loaded]
    for each, found in comparisons:
        for comparison, path in ((found[name], path) for name, path in files[each.name] if found[name]):
            _export(comparison, path)
    if as_json:
        emit(output.report(loaded, store, {each.name: found for each, found in comparisons}))
    else:
        for each, found in comparisons:
            output.results(each, found)
    if failed:
        count = "a run" if len(failed) == 1 else f"{len(failed)} runs"
        raise MetatuiError(f"{count} failed, and the same command tries again: {'; '.join(failed)}")


def _devices(given: str | None) -> list[str | None]:
    from metatui.config.fields import change
    from metatui.config.settings import Settings

    if given is None:
        return [None]
    names = given.split(",")
    for name in names:
        change(Settings(), {"compute.device": name})
    return list(names)


def _files(loaded: Sequence[Suite], exports: Sequence[Path]) -> dict[str, list[tuple[str, Path]]]:
    """Of each suite the comparisons to write and where to, known to be possible before anything is trained."""
    if not exports:
        return {each.name: [] for each in loaded}
    from metatui.runs.analysis.exports import check

    for path in exports:
        check(path)
    several = sum(len(each.comparisons) for each in loaded) > 1

    def named(path: Path, of: Suite, comparison: PlannedComparison) -> Path:
        if not several:
            return path
        words = [path.stem, *([of.name] if len(loaded) > 1 else []), comparison.name]
        return path.with_name("-".join(words) + path.suffix)

    return {
        each.name: [(part.name, named(path, each, part)) for part in each.comparisons for path in exports]
        for each in loaded
    }


def _train(suite: Suite, store: RunStore, devices: Sequence[str | None]) -> tuple[list[str], bool]:
    """Makes what is missing of the suite: a sentence for each run that failed, and whether nobody stopped it."""
    from metatui.cli.console.suite_progress import display
    from metatui.runs.execution.signals import ending_softly
    from metatui.runs.suites import Conductor, RunEnded, SuiteManifest

    failed, whole = [], True
    with SuiteManifest(suite, store) as ledger:
        waiting = ledger.missing()
        conductor = Conductor(ledger, waiting, runs_dir=store.root, devices=devices)
        with (
            ending_softly(lambda cause: conductor.interrupt()),
            display(suite, len(suite.runs) - len(waiting)) as shown,
            closing(iter(conductor)) as events,
        ):
            for event in events:
                shown.see(event)
                if isinstance(event, RunEnded) and event.status == "failed":
                    failed.append(f"{event.planned.name}: {event.sentence}")
                # A signal can also end the process of a single run, such as SIGXCPU.
                whole &= not (isinstance(event, RunEnded) and event.status == "interrupted")
    return failed, whole and not conductor.interrupted


def _compared(suite: Suite, store: RunStore, device: str | None) -> Comparisons:
    """Each comparison of the runs that are finished; None where there is none."""
    from metatui.cli.commands.compare import watching
    from metatui.runs.analysis.comparison import compare
    from metatui.runs.suites import SuiteManifest

    runs = SuiteManifest(suite, store).runs()
    found: dict[str, Comparison | None] = {}
    for part in suite.comparisons:
        folders = [runs[run.identity] for run in part.runs if run.identity in runs]
        finished = [folder for folder in folders if folder.status() == "finished"]
        with watching() as see:
            found[part.name] = compare(
                *finished, tasks=part.tasks, steps=part.steps, shots=part.shots, target=part.target, device=device,
                on_progress=see,
            ) if finished else None  # fmt: skip
    return found


def _export(comparison: Comparison | None, path: Path) -> None:
    from metatui.runs.analysis.exports import export, written

    assert comparison is not None
    console(stderr=True).print(written(export(comparison, path)), soft_wrap=True)
