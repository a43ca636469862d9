"""Output of `metatui suite`: list of suites, plan of a suite, and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metatui.cli.console.layout import heading, say, show_table, title
from metatui.cli.console.output import console, emit
from metatui.runs.suites import RunStatus, Suite, SuiteManifest, SuiteMonitor, bundled, user, user_dir

if TYPE_CHECKING:
    from metatui.runs.analysis.comparison import Comparison
    from metatui.runs.storage.store import RunStore

ABOUT = ("title", "source", "measured", "notes")


def show_list(as_json: bool) -> None:
    """Print the user's own suites and the bundled suites."""
    own, problems = user()
    suites = [*own, *bundled()]
    if as_json:
        emit({"suites": [_about(suite) | {"runs": len(suite.runs)} for suite in suites], "problems": problems})
        return
    screen = console()
    for suite in suites:
        heading(screen, suite.name, f" ({len(suite.runs)} runs)  {suite.title}")
        labelled = [f"{key}: {value}" for key in ("measured", "notes") if (value := getattr(suite, key))]
        say(screen, *filter(None, (suite.source,)), *labelled, style="dim", indent=4)
    say(screen, *(f"warning: {problem}" for problem in problems), style="yellow")
    say(screen, f"To run a suite: metatui suite NAME. Your own suites belong in the folder {user_dir()}")


def show_plan(suites: Sequence[Suite], store: RunStore, as_json: bool) -> None:
    """Print the runs of `suites` and their status."""
    if as_json:
        emit(report(suites, store))
        return
    screen = console()
    for suite in suites:
        heading(screen, suite.name, f"  {suite.title}")
        status = SuiteMonitor(SuiteManifest(suite, store)).read()
        say(screen, f"Finished: {status.finished} of {len(suite.runs)} runs")
        for part in suite.comparisons:
            # One table for each comparison: a column for its name would leave too little space for run names.
            rows = []
            for run in status.runs:
                if run.planned.comparison == part.name:
                    done = f"{run.iteration:,}/{run.planned.iterations:,}"
                    rows.append((run.planned.label, done, run.status, run.folder.id if run.folder else ""))
            title(screen, part.name)
            show_table(screen, ("run", "meta-steps", "status", "name"), rows, numbers=("meta-steps",))
            say(screen, *(f"warning about {part.name}: {warning}" for warning in part.warnings), style="yellow")


def show_results(suite: Suite, comparisons: Mapping[str, Comparison | None]) -> None:
    """Print the conclusions and tables of each comparison."""
    from metatui.cli.console.comparison import show

    screen = console()
    for name, comparison in comparisons.items():
        if len(comparisons) > 1:
            title(screen, f"{suite.name}: {name}")
        if comparison is None:
            say(screen, "None of the runs of this comparison is finished.")
        else:
            show(comparison)


def report(
    suites: Sequence[Suite],
    store: RunStore,
    comparisons: Mapping[str, Mapping[str, Comparison | None]] | None = None,
) -> dict[str, Any]:
    """Return the JSON object of `suite --json`, in which each comparison has the format of `compare --json`."""
    from metatui.runs.analysis.exports import as_json

    reports = []
    for suite in suites:
        results = (comparisons or {}).get(suite.name, {})
        runs = [_run(run) for run in SuiteMonitor(SuiteManifest(suite, store)).read().runs]
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


def _run(run: RunStatus) -> dict[str, Any]:
    planned, folder = run.planned, run.folder
    return {
        "comparison": planned.comparison,
        "label": planned.label,
        "algorithm": planned.settings.algorithm.name,
        "seed": planned.settings.training.seed,
        "run": folder.id if folder else None,
        "dir": str(folder.path) if folder else None,
        "status": run.status,
        "iterations": run.iteration,
        "of": planned.iterations,
        "settings": planned.settings.model_dump(mode="json"),
    }


def _about(suite: Suite) -> dict[str, Any]:
    path = str(suite.path) if suite.path else None
    return {"name": suite.name, **{key: getattr(suite, key) for key in ABOUT}, "path": path}
