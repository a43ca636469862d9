"""`metatui check`: the proof that second order means second order."""

from __future__ import annotations

from dataclasses import asdict

import click

from metatui.cli.options import changed, json_option
from metatui.cli.output import cell, console, emit, table
from metatui.settings import Settings


@click.command()
@click.option(
    "--device", default="cpu", show_default=True, metavar="DEVICE", help="Where to compute: cpu, cuda, cuda:N."
)
@json_option
@click.pass_context
def check(context: click.Context, device: str, as_json: bool) -> None:
    """Prove the meta-gradients of every algorithm and engine against finite differences and higher, in float64.

    On a GPU, networks of full size are compared too.
    """
    where = changed(Settings(), (), device).compute.device

    from metatui.learning.check import run_checks

    checks = []
    for result in run_checks(where):
        checks.append(result)
        if not as_json:
            console(stderr=True).print(f"{'ok' if result.ok else 'WRONG'}  {result.name}", soft_wrap=True)
    ok = all(result.ok for result in checks)
    if as_json:
        emit({"ok": ok, "checks": [asdict(result) for result in checks]})
    else:
        rows = table(
            "check", "algorithm", "engine", "reference", "relative error", "tolerance", "",
            numbers=("relative error", "tolerance"),
        )  # fmt: skip
        for result in checks:
            error, tolerance = f"{result.relative_error:.1e}", f"{result.tolerance:.0e}"
            texts = (result.name, result.algorithm, result.engine, result.reference, error, tolerance)
            rows.add_row(*map(cell, texts), "ok" if result.ok else "WRONG")
        console().print(rows)
    if not ok:
        context.exit(1)
