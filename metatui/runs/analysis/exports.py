"""Export of comparisons to files, in the format of the file extension."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from metatui.runs.analysis.comparison.values import Comparison, Pair, RunResult, SeedGroup, SeedPair
from metatui.runs.analysis.figures import comparison_figure
from metatui.runs.analysis.report.render import as_html, write_summary
from metatui.runs.analysis.tex import as_tex
from metatui.runs.storage.jsonl import finite
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import reason, write_atomically
from metatui.utils.text import format_count

CSV_COLUMNS = (
    "run", "label", "algorithm", "seed", "iteration", "split", "tasks", "ways", "shots", "queries", "batch_norm",
    "metric", "inner_step", "mean", "ci95", "inner_lr", "diverged", "checkpoint", "over", "seeds", "sd",
    "compared_with", "difference", "difference_ci95", "test", "p", "p_holm",
)  # fmt: skip


def check(path: Path) -> None:
    """Check that a comparison can be written to `path`. Call this function before computing the comparison.

    Raises:
        BadInput: if the extension is unknown, or the folder does not exist.
    """
    if path.suffix.lower() not in EXPORTS:
        raise BadInput(f"{quote(str(path), 200)} must end in one of {', '.join(EXPORTS)}, which selects the format")
    try:
        if not path.parent.is_dir():
            missing = f"there is no folder {quote(str(path.parent), 200)}"
            raise BadInput(f"{quote(str(path), 200)} cannot be written: {missing}")
        if path.is_dir():
            raise BadInput(f"{quote(str(path), 200)} is a folder, but must be a file")
    except OSError as error:  # for example, because the name is too long
        raise BadInput(f"{quote(str(path), 200)} cannot be written: {reason(error)}") from None


def export(comparison: Comparison, path: Path) -> tuple[Path, ...]:
    """Write a comparison to the file `path`, in the format given by its extension.

    The figures of a Markdown file are written next to it.

    Returns:
        All written files, `path` first.

    Raises:
        BadInput: if `check` rejects `path`.
        MetatuiError: if a file cannot be written.
    """
    check(path)
    return EXPORTS[path.suffix.lower()](comparison, path)


def describe_written_files(files: Sequence[Path]) -> str:
    """Describe written files: `Written to report.md, with 4 figures next to it`."""
    figures = len(files) - 1
    more = f", with {format_count(figures, 'figure')} next to it" if figures else ""
    return f"Written to {files[0]}{more}"


def as_csv(comparison: Comparison) -> str:
    """Return the adaptation curves as CSV, with one row for each run, metric and inner step.

    Further rows at the end contain the curve of each group of runs that differ only in the seed. The column `over`
    says whether `ci95` is over tasks or over seeds. The last rows, in which `over` is empty, contain the tests: one row
    for each pair of runs or groups, named by `label` and `compared_with`.
    """
    file = io.StringIO()
    rows = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n")
    rows.writeheader()
    for run in comparison.runs:
        e = run.evaluation
        about = {**_about(run), "inner_lr": e.inner_lr, "diverged": run.diverged, "checkpoint": e.checkpoint}
        for metric, curve in (("accuracy", e.accuracy), ("loss", e.loss)):
            if curve is not None:
                for step, mean, half in zip(e.steps, curve.mean, curve.ci95, strict=True):
                    values = {"metric": metric, "inner_step": step, "mean": mean, "ci95": half}
                    rows.writerow({**about, **values, "over": "tasks", "seeds": 1})
    for group in comparison.repeated:
        for metric, over_seeds in (("accuracy", group.accuracy), ("loss", group.loss)):
            if over_seeds is not None:
                steps = zip(over_seeds.mean, over_seeds.ci95, over_seeds.deviation, strict=True)
                for step, (mean, half, sd) in enumerate(steps):
                    values = {"metric": metric, "inner_step": step, "mean": mean, "ci95": half, "sd": sd}
                    rows.writerow({**_about_group(group), **values, "over": "seeds", "seeds": over_seeds.seeds})
    for seed_pair in comparison.seeds:
        about = {**_about_group(seed_pair.a), "compared_with": seed_pair.b.label, "test": "Welch"}
        rows.writerow({**about, **_tested(seed_pair, seed_pair.test.difference, seed_pair.test.p)})
    for pair in comparison.pairs:
        name = "Wilcoxon" if math.isnan(pair.test.p) else "paired t"
        about = {**_about(pair.a), "compared_with": pair.b.label, "diverged": pair.test.left_out, "test": name}
        # If most tasks are left out, the others are a biased sample, and the pair is not tested.
        p = pair.test.deciding_p if pair.test.most_are_finite else math.nan
        rows.writerow({**about, **_tested(pair, pair.test.mean, p)})
    return file.getvalue()


def _about(run: RunResult) -> dict[str, Any]:
    """Return the columns of a CSV file that describe a run and its evaluation."""
    e = run.evaluation
    return {
        "run": run.id,
        "label": run.label,
        "algorithm": run.settings.algorithm.name,
        "seed": run.settings.training.seed,
        "iteration": e.iteration,
        "split": e.split,
        "tasks": e.tasks,
        "ways": e.ways,
        "shots": e.shots,
        "queries": e.queries,
        "batch_norm": e.batch_norm,
    }


def _about_group(group: SeedGroup) -> dict[str, Any]:
    """Return the columns of a CSV file that describe a group, without those that differ between its runs."""
    return {**_about(group.runs[0]), "run": None, "label": group.label, "seed": None, "iteration": None}


def _tested(pair: Pair | SeedPair, difference: float, p: float) -> dict[str, Any]:
    """Return the columns of a CSV file that contain the result of a test."""
    return {
        "metric": pair.metric,
        "inner_step": pair.step,
        "difference": difference,
        "difference_ci95": pair.test.ci95,
        "p": p,
        "p_holm": pair.p_holm,
    }


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as the JSON object that `metatui compare --json` prints.

    Each of `runs` contains the adaptation curve as a list over `steps`, from step 0. `curves.training` is the smoothed
    training curve, and `curves.validation` is the metric after the last inner step at each validation. Both contain the
    numbers of meta-steps (`iterations`), tasks and seconds at each point. `curves.training.averages` contains the
    training curve with other degrees of smoothing, and `curves.training.changes` contains the live changes. Accuracies
    are fractions, and differences are a minus b. Unknown and non-finite values are null.

    Each of `groups` contains the runs that differ only in the seed. Its `n`, `mean`, `sd` and `ci95` are statistics
    over the seeds after the last inner step, and its `loss` and `accuracy` contain the same statistics at each step.
    The intervals in `runs` are over tasks. All intervals are 95 % intervals (Student's t), given as half-widths.
    """
    described: dict[str, Any] = finite(
        {
            "runs": [_run(comparison, run) for run in comparison.runs],
            "pairs": [_pair(pair) for pair in comparison.pairs],
            "seeds": [_seeds(pair) for pair in comparison.seeds],
            "groups": [_group(comparison, group) for group in comparison.groups],
            "warnings": comparison.warnings,
            "protocol": asdict(comparison.protocol),
            "metric": comparison.metric,
            "target": comparison.target,
        }
    )
    return described


def _json_text(comparison: Comparison) -> str:
    return json.dumps(as_json(comparison), indent=2, allow_nan=False) + "\n"


def _writer(content: Callable[[Comparison], str | bytes]) -> Callable[[Comparison, Path], tuple[Path]]:
    def write(comparison: Comparison, path: Path) -> tuple[Path]:
        data = content(comparison)
        write_atomically(path, data.encode() if isinstance(data, str) else data)
        return (path,)

    return write


EXPORTS: dict[str, Callable[[Comparison, Path], tuple[Path, ...]]] = {
    ".csv": _writer(as_csv),
    ".html": _writer(as_html),
    ".json": _writer(_json_text),
    ".md": write_summary,
    ".pdf": _writer(partial(comparison_figure, kind="pdf")),
    ".png": _writer(partial(comparison_figure, kind="png")),
    ".svg": _writer(partial(comparison_figure, kind="svg")),
    ".tex": _writer(as_tex),
}
"""Functions that write a comparison to a file and return all written files, keyed by file extension."""


def _run(comparison: Comparison, run: RunResult) -> dict[str, Any]:
    evaluation, costs = run.evaluation, run.costs
    return {
        "run": run.id,
        "dir": str(run.run.path),
        "label": run.label,
        "algorithm": run.settings.algorithm.name,
        "seed": run.settings.training.seed,
        "iteration": evaluation.iteration,
        "tasks": evaluation.tasks,
        "ways": evaluation.ways,
        "steps": evaluation.steps,
        "loss": asdict(evaluation.loss),
        "accuracy": asdict(evaluation.accuracy) if evaluation.accuracy else None,
        "diverged": run.diverged,
        "inner_lr": evaluation.inner_lr,
        "checkpoint": evaluation.checkpoint,
        **asdict(costs),
        "speed_ratio": comparison.speed_ratio(run),
        "to_target": asdict(run.to_target) if run.to_target else None,
        "curves": {
            "training": asdict(run.training) if run.training else None,
            "validation": asdict(run.validation),
        },
    }


def _pair(pair: Pair) -> dict[str, Any]:
    test = pair.test
    return {
        "a": pair.a.id,
        "b": pair.b.id,
        "metric": pair.metric,
        "step": pair.step,
        "steps": [run.evaluation.steps[-1] for run in (pair.a, pair.b)],
        "tasks": test.tasks,
        "left_out": test.left_out,
        "difference": test.mean,
        "ci95": test.ci95,
        "median_difference": test.median,
        "t": test.t,
        "p": test.p,
        "p_holm": pair.p_holm,
        "wilcoxon_p": test.wilcoxon_p,
        "wilcoxon_p_holm": pair.wilcoxon_p_holm,
        "effect_size": test.effect_size,
        "verdict": pair.verdict,
    }


def _group(comparison: Comparison, group: SeedGroup) -> dict[str, Any]:
    over_seeds = group.over_seeds(comparison.metric)
    return {
        "label": group.label,
        "runs": [run.id for run in group.runs],
        "seeds": [run.settings.training.seed for run in group.runs],
        "metric": comparison.metric,
        "step": group.runs[0].evaluation.steps[-1],
        "n": over_seeds.seeds,
        "mean": over_seeds.mean[-1],
        "sd": over_seeds.deviation[-1],
        "ci95": over_seeds.ci95[-1],
        "loss": asdict(group.loss),
        "accuracy": asdict(group.accuracy) if group.accuracy else None,
    }


def _seeds(pair: SeedPair) -> dict[str, Any]:
    test = pair.test
    return {
        "a": [run.id for run in pair.a.runs],
        "b": [run.id for run in pair.b.runs],
        "metric": pair.metric,
        "step": pair.step,
        "difference": test.difference,
        "ci95": test.ci95,
        "t": test.t,
        "degrees": test.degrees,
        "p": test.p,
        "p_holm": pair.p_holm,
        "verdict": pair.verdict,
    }
