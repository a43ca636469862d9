"""`metatui check`: check the meta-gradients of all algorithms and engines."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from metatui.cli.console.output import cell, console, emit, table
from metatui.cli.options import changed, json_option
from metatui.config.settings import Settings

if TYPE_CHECKING:
    from metatui.learning.checks.awkward import AwkwardCheck
    from metatui.learning.checks.comparison import Check


@click.command()
@click.option(
    "--device", default="cpu", show_default=True, metavar="DEVICE", help="Device to compute on: cpu, cuda or cuda:N."
)
@json_option
@click.pass_context
def check(context: click.Context, device: str, as_json: bool) -> None:
    """Check the meta-gradients of every algorithm and engine against finite differences and higher, in float64.

    Modules and losses that are difficult for fast engines are also compared with plain autograd. On a GPU, full-size
    networks are checked too.
    """
    device = changed(Settings(), (), device).compute.device

    import torch

    from metatui.learning.checks.awkward import run_awkward_checks
    from metatui.learning.checks.check import run_checks

    torch.set_num_threads(1)  # the problems are too small for multithreading
    checks = []
    for result in run_checks(device):
        checks.append(result)
        if not as_json:
            console(stderr=True).print(f"{'ok' if result.ok else 'WRONG'}  {result.name}", soft_wrap=True)
    awkward = list(run_awkward_checks())
    ok = all(result.ok for result in checks) and all(result.ok for result in awkward)
    if as_json:
        emit({"ok": ok, "checks": [asdict(r) for r in checks], "modules": [asdict(r) for r in awkward]})
    else:
        names = ("check", "algorithm", "engine", "reference", "relative error", "tolerance", "")
        rows = table(*names, numbers=("relative error", "tolerance"))
        for result in checks:
            error, tolerance = f"{result.relative_error:.1e}", f"{result.tolerance:.0e}"
            texts = (result.name, result.algorithm, result.engine, result.reference, error, tolerance)
            rows.add_row(*map(cell, texts), "ok" if result.ok else "WRONG")
        console().print(rows)
        for line in (*(_failure(r, r.reason) for r in checks if r.reason), *_summary(awkward)):
            console().print(line, soft_wrap=True, markup=False)
    if not ok:
        context.exit(1)


def _summary(results: list[AwkwardCheck]) -> list[str]:
    """Return a line that summarises all modules, and a line for each failure."""
    modules, engines = len({r.name for r in results}), len({r.engine for r in results})
    counts = Counter(r.outcome if r.ok else "failed" for r in results)
    lines = [
        f"Difficult modules and losses: {modules} on {engines} engines; {counts['agrees']} gradients agree with plain "
        f"autograd, {counts['refused']} are refused with a reason, {counts['failed']} are wrong"
    ]
    wrong = (r for r in results if not r.ok)
    return lines + [_failure(r, r.reason or f"relative error {r.relative_error:.1e}") for r in wrong]


def _failure(r: Check | AwkwardCheck, reason: str) -> str:
    return f"WRONG  {r.name}, {r.algorithm}, {r.engine}: {reason}"
