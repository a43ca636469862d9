"""What `metatui suite` prints: the suites there are, what one would run, and what came of it."""

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


def listed(as_json: bool) -> None:
    """The suites that come with metatui, and the user's own."""
    suites = [*user(), *bundled()]
    if as_json:
        emit({"suites": [_about(each) | {"runs": len(each.runs)} for each in suites], "problems": problems()})
        return
    screen = console()
    for each in suites:
        runs = f" ({len(each.runs)} runs)"
        screen.print(Text.assemble((each.name, "bold"), runs, "  ", cell(each.title)), soft_wrap=True)
        below(screen, [*filter(None, (each.source,)), *_labelled(each)])
    for problem in problems():
        screen.print(cell(f"cannot be used: {problem}"), soft_wrap=True)
    screen.print(cell(f"Suites of your own go into {user_dir()}; metatui suite NAME runs one."), soft_wrap=True)


def planned(suites: Sequence[Suite], store: RunStore, as_json: bool) -> None:
    """What would be run, and how far each run is."""
    if as_json:
        emit(report(suites, store))
        return
    screen = console()
    for each in suites:
        screen.print(Text.assemble((each.name, "bold"), "  ", cell(each.title)), soft_wrap=True)
        folders = SuiteManifest(each, store).folders()
        for part in each.comparisons:
            # A table for each, as a column with its name would leave no room for the runs' names on 80 columns.
            rows = table("run", "meta-steps", "status", "name", numbers=("meta-steps",))
            for run, folder in folders:
                if run.comparison == part.name:
                    status, made = _standing(folder)
                    done = f"{made:,}/{run.iterations:,}"
                    rows.add_row(*map(cell, (run.label, done, status, folder.id if folder else "")))
            screen.print(cell(part.name), soft_wrap=True)
            screen.print(rows)
            for warning in part.warnings:
                screen.print(cell(f"warning: {part.name}: {warning}"), soft_wrap=not screen.is_terminal)


def results(suite: Suite, comparisons: Mapping[str, Comparison | None]) -> None:
    """Tables and verdicts of each comparison."""
    from metatui.cli.commands.compare import show

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
    """What `--json` prints: of each suite its runs, and of each comparison what `compare --json` prints."""
    from metatui.runs.analysis.exports import as_json

    found = []
    for each in suites:
        compared = (comparisons or {}).get(each.name, {})
        runs = [_run(run, folder) for run, folder in SuiteManifest(each, store).folders()]
        parts = [
            {
                "name": part.name,
                "warnings": part.warnings,
                **(as_json(made) if (made := compared.get(part.name)) else {}),
            }
            for part in each.comparisons
        ]
        found.append(_about(each) | {"runs": runs, "comparisons": parts})
    return {"suites": found}


def _run(run: PlannedRun, folder: RunFolder | None) -> dict[str, Any]:
    status, made = _standing(folder)
    return {
        "comparison": run.comparison,
        "label": run.label,
        "algorithm": run.settings.algorithm.name,
        "seed": run.settings.training.seed,
        "run": folder.id if folder else None,
        "dir": str(folder.path) if folder else None,
        "status": status,
        "iterations": made,
        "of": run.iterations,
        "settings": run.settings.model_dump(mode="json"),
    }


def _standing(folder: RunFolder | None) -> tuple[str, int]:
    """A run's status and meta-steps done."""
    if folder is None:
        return "waiting", 0
    summary = summarise(folder)
    return summary.status, summary.iteration


def _about(suite: Suite) -> dict[str, Any]:
    path = str(suite.path) if suite.path else None
    return {"name": suite.name, **{key: getattr(suite, key) for key in ABOUT}, "path": path}


def _labelled(suite: Suite) -> list[str]:
    return [f"{key}: {value}" for key in ("measured", "notes") if (value := getattr(suite, key))]
