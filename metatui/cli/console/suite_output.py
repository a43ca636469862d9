"""Output of `metatui suite`: the list of suites, the plan of a suite, and its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from metatui.cli.console.output import below, cell, console, emit, table
from metatui.runs.storage.summary import summarise
from metatui.runs.suites import PlannedRun, Suite, SuiteManifest, bundled, problems, user, user_dir

if TYPE_CHECKING:
    from metatui.runs.analysis.comparison import Comparison
    from metatui.runs.storage.run_folder import RunFolder
    from metatui.runs.storage.store import RunStore

ABOUT = ("title", "source", "measured", "notes")


def show_list(as_json: bool) -> None:
    """Print the bundled suites and the user's own."""
    suites = [*user(), *bundled()]
    if as_json:
        emit({"suites": [_about(suite) | {"runs": len(suite.runs)} for suite in suites], "problems": problems()})
        return
    screen = console()
    for suite in suites:
        runs = f" ({len(suite.runs)} runs)"
        screen.print(Text.assemble((suite.name, "bold"), runs, "  ", cell(suite.title)), soft_wrap=True)
        labelled = [f"{key}: {value}" for key in ("measured", "notes") if (value := getattr(suite, key))]
        below(screen, [*filter(None, (suite.source,)), *labelled])
    for problem in problems():
        screen.print(cell(f"warning: {problem}"), soft_wrap=True)
    screen.print(cell(f"Your own suites belong in {user_dir()}; metatui suite NAME runs one."), soft_wrap=True)


def show_plan(suites: Sequence[Suite], store: RunStore, as_json: bool) -> None:
    """Print the runs of `suites` and their status."""
    if as_json:
        emit(report(suites, store))
        return
    screen = console()
    for suite in suites:
        screen.print(Text.assemble((suite.name, "bold"), "  ", cell(suite.title)), soft_wrap=True)
        folders = SuiteManifest(suite, store).folders()
        for part in suite.comparisons:
            # One table each: a column with its name would leave no room for the names of runs on 80 columns.
            rows = table("run", "meta-steps", "status", "name", numbers=("meta-steps",))
            for run, folder in folders:
                if run.comparison == part.name:
                    status, done = _status(folder)
                    count = f"{done:,}/{run.iterations:,}"
                    rows.add_row(*map(cell, (run.label, count, status, folder.id if folder else "")))
            screen.print(cell(part.name), soft_wrap=True)
            screen.print(rows)
            for warning in part.warnings:
                screen.print(cell(f"warning: {part.name}: {warning}"), soft_wrap=not screen.is_terminal)


def show_results(suite: Suite, comparisons: Mapping[str, Comparison | None]) -> None:
    """Print tables and conclusions of each comparison."""
    from metatui.cli.console.comparison import show

    screen = console()
    for name, comparison in comparisons.items():
        if len(comparisons) > 1:
            screen.print(Text(f"\n{suite.name}: {name}", style="bold"), soft_wrap=True)
        if comparison is None:
            screen.print("none of its runs is finished", soft_wrap=True)
        else:
            show(comparison)


def report(
    suites: Sequence[Suite],
    store: RunStore,
    comparisons: Mapping[str, Mapping[str, Comparison | None]] | None = None,
) -> dict[str, Any]:
    """Return the JSON object of `suite --json`, in which each comparison is as `compare --json` prints it."""
    from metatui.runs.analysis.exports import as_json

    reports = []
    for suite in suites:
        results = (comparisons or {}).get(suite.name, {})
        runs = [_run(run, folder) for run, folder in SuiteManifest(suite, store).folders()]
        parts = [
            {
                "name": part.name,
                "warnings": part.warnings,
                **(as_json(comparison) if (comparison := results.get(part.name)) else {}),
            }
            for part in suite.comparisons
        ]
        reports.append(_about(suite) | {"runs": runs, "comparisons": parts})
    return {"suites": reports}


def _run(run: PlannedRun, folder: RunFolder | None) -> dict[str, Any]:
    status, done = _status(folder)
    return {
        "comparison": run.comparison,
        "label": run.label,
        "algorithm": run.settings.algorithm.name,
        "seed": run.settings.training.seed,
        "run": folder.id if folder else None,
        "dir": str(folder.path) if folder else None,
        "status": status,
        "iterations": done,
        "of": run.iterations,
        "settings": run.settings.model_dump(mode="json"),
    }


def _status(folder: RunFolder | None) -> tuple[str, int]:
    """Return the status and the number of meta-steps of a run."""
    if folder is None:
        return "waiting", 0
    summary = summarise(folder)
    return summary.status, summary.iteration


def _about(suite: Suite) -> dict[str, Any]:
    path = str(suite.path) if suite.path else None
    return {"name": suite.name, **{key: getattr(suite, key) for key in ABOUT}, "path": path}
