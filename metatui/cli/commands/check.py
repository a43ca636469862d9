"""`metatui check`: check the meta-gradients of all algorithms and engines."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from metatui.cli.console.layout import say, show_table
from metatui.cli.console.output import console, emit
from metatui.cli.options import apply_settings, examples, json_option
from metatui.config.settings import Settings

if TYPE_CHECKING:
    from metatui.learning.checks.comparison import Check
    from metatui.learning.checks.edge_cases import EdgeCaseCheck


@click.command(
    epilog=examples(
        "metatui check",
        "metatui check --device cuda",
    )
)
@click.option(
    "--device", default="cpu", show_default=True, metavar="DEVICE", help="Device to compute on: cpu, cuda or cuda:N."
)
@json_option
@click.pass_context
def check(context: click.Context, device: str, as_json: bool) -> None:
    """Check the meta-gradients of every algorithm and engine in float64.

    The meta-gradients are compared with finite differences and with results of the library 'higher'. Gradients of
    modules and losses that are difficult for fast engines are also compared with plain autograd. On a GPU, full-size
    networks are checked, too.
    """
    device = apply_settings(Settings(), (), device).compute.device

    import torch

    from metatui.learning.checks.check import run_checks
    from metatui.learning.checks.edge_cases import run_edge_case_checks

    torch.set_num_threads(1)  # the problems are too small for multithreading
    checks = []
    for result in run_checks(device):
        checks.append(result)
        if not as_json:
            say(console(stderr=True), f"{_word(result)}  {_named(result)}, compared with {result.reference}")
    if not as_json:
        say(console(stderr=True), "checking modules and losses that are difficult to differentiate")
    edge_cases = list(run_edge_case_checks())
    ok = all(result.ok for result in checks) and all(result.ok for result in edge_cases)
    if as_json:
        emit({"ok": ok, "checks": [asdict(r) for r in checks], "modules": [asdict(r) for r in edge_cases]})
    else:
        screen = console()
        say(screen, *_conclusions(checks, edge_cases))
        screen.line()
        headings = ("check", "algorithm", "engine", "reference", "relative error", "tolerance", "result")
        rows = (
            (r.name, r.algorithm, r.engine, r.reference, f"{r.relative_error:.1e}", f"{r.tolerance:.0e}", _word(r))
            for r in checks
        )
        show_table(screen, headings, rows, numbers=("relative error", "tolerance"), names=3)
    if not ok:
        context.exit(1)


def _conclusions(checks: list[Check], edge_cases: list[EdgeCaseCheck]) -> list[str]:
    """Return a sentence about the algorithms and engines, one about difficult modules, and one for each failure."""
    modules, engines = len({r.name for r in edge_cases}), len({r.engine for r in edge_cases})
    counts = Counter(r.outcome if r.ok else "failed" for r in edge_cases)
    everything: list[Check | EdgeCaseCheck] = [*checks, *edge_cases]
    wrong = [r for r in everything if not r.ok]
    failed = sum(not r.ok for r in checks)
    agree = f"{failed} of {len(checks)} checks failed" if failed else f"All {len(checks)} checks passed"
    return [
        f"{agree}. The checks cover the meta-gradients and adaptation of every algorithm and engine, in float64.",
        f"Difficult modules and losses: {modules} on {engines} engines. Gradients that agree with plain autograd: "
        f"{counts['agrees']}; refused with a reason: {counts['refused']}; wrong: {counts['failed']}.",
        *(f"{_word(r)}  {_named(r)}: {r.reason or f'relative error {r.relative_error:.1e}'}" for r in wrong),
    ]


def _named(result: Check | EdgeCaseCheck) -> str:
    return f"{result.name}, {result.algorithm}, {result.engine}"


def _word(result: Check | EdgeCaseCheck) -> str:
    return "ok" if result.ok else "WRONG"
