"""`metatui explain`: explain an algorithm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import click

from metatui.cli.console.output import console, emit
from metatui.cli.options import changed, complete_algorithms, complete_presets, json_option, set_option
from metatui.learning.explanations import Explanation, explanation


@click.command()
@click.argument("algorithm", shell_complete=complete_algorithms)
@click.option(
    "--preset",
    metavar="PRESET|FILE",
    shell_complete=complete_presets,
    help="Preset whose settings the pseudo-code shows.",
)
@set_option
@json_option
def explain(algorithm: str, preset: str | None, assignments: tuple[str, ...], as_json: bool) -> None:
    """Explain ALGORITHM: update rule, pseudo-code for the given settings, cost and paper."""
    from metatui.config import presets
    from metatui.config.settings import Settings

    settings = changed(presets.load(preset).settings if preset else Settings(), assignments)
    result = explanation(settings, algorithm)
    if as_json:
        emit(asdict(result))
    else:
        console().print("\n".join(_lines(result)))


def _lines(explanation: Explanation) -> Iterator[str]:
    yield from (explanation.title, "", explanation.idea)
    sections = {
        "Update rule": [*(f"  {line}" for line in explanation.rule), *filter(None, [explanation.symbols])],
        "Pseudo-code": [f"  {line}" for line in explanation.code],
        "Cost of a meta-step": [f"- {sentence}" for sentence in explanation.costs],
        "Paper": [f"- {paper}" for paper in explanation.paper],
    }
    for title, lines in sections.items():
        if lines:
            yield from ("", title, *lines)
