"""LaTeX tables of a comparison, for the package booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from metatui.runs.analysis.comparison.formatting import after_steps, amount, changes_in_training, protocol_words
from metatui.runs.analysis.comparison.tables import differing_settings, groups, paired_tests_table, seed_tests
from metatui.runs.analysis.comparison.values import Comparison
from metatui.utils.numbers import with_minus
from metatui.utils.text import sanitize

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
    "−": "$-$",
    "α": r"$\alpha$",
    "λ": r"$\lambda$",
    "µ": r"$\mu$",
    "�": "?",
    "[": "{[}",  # otherwise, it would begin an argument of the end of the previous row, like a star
    "*": "{*}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
"""Characters that LaTeX would interpret, or that its default fonts lack, and their replacements."""


def as_tex(comparison: Comparison) -> str:
    """Return tables of the metric after the last inner step, of its tests, and of the settings that differ.

    The first table has a row for each run or group of seeds. Its caption states the protocol and defines the intervals.
    """
    metric = comparison.metric
    rows: Sequence[Sequence[str]]
    if over_seeds := groups(comparison):
        heading, rows = ["", "seeds", f"{metric}, mean", "SD"], over_seeds.rows
        interval = "the half-width of the 95 % interval of the mean over seeds (Student's t)"
        meaning = f"± is {interval}, and SD is the standard deviation over seeds"
    else:
        heading = ["", metric]
        rows = [[run.label, amount(metric, *run.evaluation.final)] for run in comparison.runs]
        meaning = "± is the half-width of the 95 % interval over tasks (Student's t)"
    caption = f"{metric.capitalize()} {after_steps(comparison)}: {protocol_words(comparison)}. {meaning}."
    if changes := changes_in_training(comparison):
        caption += f" Changes during training: {'; '.join(changes)}."
    if comparison.warnings:
        caption += f" Note: {'; '.join(comparison.warnings)}."
    source = comparison.protocol.source
    first = _table(caption, f"{source}-results", heading, rows)
    blocks = ["% Made by metatui compare. Needs \\usepackage{booktabs}.\n", first]
    for make, (label, note) in OTHERS.items():
        if table := make(comparison):
            title = f"{table.title}{note}."
            blocks.append(_table(title, f"{source}-{label}", table.headings, table.rows, table.names))
    return "".join(blocks)


HOLM = "; Holm is the p value with Holm's correction for all pairs in this table"
OTHERS = {
    seed_tests: ("seed-tests", f": Welch's tests of the means of the runs, with 95 % intervals over seeds{HOLM}"),
    paired_tests_table: ("pairs", f": paired t-tests, with 95 % intervals over tasks{HOLM}"),
    differing_settings: ("settings", ""),
}
"""Functions that return additional tables, and for each function, the end of the label of its table and the text to
append to its caption."""


def _table(caption: str, label: str, heading: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """Return a LaTeX table with the label `tab:` + `label`.

    The first `names` columns are left-aligned, and the others are right-aligned.
    """
    lines = [
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{escape_tex(caption)}}}",
        f"  \\label{{tab:{label}}}",
        f"  \\begin{{tabular}}{{{'l' * names}{'r' * (len(heading) - names)}}}",
        r"    \toprule",
        f"    {_row(heading)}",
        r"    \midrule",
        *(f"    {_row(row)}" for row in rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape_tex(text: str) -> str:
    """Escape LaTeX syntax in `text`, because names of runs may contain any character."""
    return "".join(SPECIAL.get(character, character) for character in sanitize(text, limit=max(1, len(text))))


def _row(cells: Sequence[str]) -> str:
    return " & ".join(escape_tex(with_minus(cell)) for cell in cells) + r" \\"
