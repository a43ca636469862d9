"""Update the generated tables in the README files: `python -m tests.readme`.

A table named NAME replaces the text between `<!-- NAME -->` and `<!-- /NAME -->` in any README with these markers.
Tables of settings, presets and modules are generated from the program, and tables of benchmarks from the results in
`tests/benchmarks/measured`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metatui.config import presets
from metatui.config.fields import FIELDS, text_of
from metatui.config.presets import Preset
from tests.benchmarks import finn_table, memory, product, report

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
MEASURED = ROOT / "tests" / "benchmarks" / "measured"

BENCHMARKS = {
    "side-by-side": report.table,
    "product": product.table,
    "memory": memory.table,
    "gpu": report.table,
    "finn-table": finn_table.table,
}
"""Functions that format the results of a benchmark, keyed by the name of the results file in `MEASURED` without its
extension. A benchmark without such a file has no table."""

PACKAGES = ("cli", "tui", "runs", "learning", "config", "utils")
"""Packages whose README contains a table of their modules."""

HEADLINE_ROWS = ("sinusoid MAML, 25 tasks, K=Q=10, 5 steps", "Omniglot conv4-64 max-pool, MAML")
"""Prefixes of the names of the rows in the short table of the top-level README."""
MARKER = re.compile(r"^<!-- (/?)([a-z-]+) -->$", re.MULTILINE)


def documents() -> list[Path]:
    """Return the paths of all README files in the repository, beginning with the top-level README."""
    return [
        README,
        *(path for top in ("metatui", "presets", "tests") for path in sorted((ROOT / top).rglob("README.md"))),
    ]


def settings_table() -> str:
    """Format a table of all settings: default, allowed values, whether they are live settings, and meaning."""
    rows = ["| setting | default | allowed | live | meaning |", "|---|---|---|---|---|"]
    for field in FIELDS.values():
        live = "live" if field.live else ""
        rows.append(f"| `{field.path}` | {text_of(field.default)} | {field.allowed} | {live} | {field.help} |")
    return "\n".join(rows)


def presets_table() -> str:
    """Format a table of the bundled presets: protocol, published result with its protocol, and measured result."""
    rows = ["| preset | protocol | published | measured |", "|---|---|---|---|"]
    rows += (
        f"| `{preset.name}` | {preset.protocol} | {_published(preset)} | {preset.measured or '–'} |"
        for preset in presets.bundled()
    )
    return "\n".join(rows)


def _published(preset: Preset) -> str:
    return f"{preset.published}. {preset.published_protocol}" if preset.published else "–"


def headline_table() -> str:
    """Format the rows of the table in the top-level README that compares metatui with other libraries.

    Of the JAX variants, only the faster one in each row is shown.
    """
    rows = []
    for row in _measured("side-by-side")["rows"]:
        if row["work"].startswith(HEADLINE_ROWS):
            jax = min(
                (side for name, side in row["sides"].items() if name.startswith("JAX")), key=lambda side: side["ms"]
            )
            sides = {name: row["sides"][name] for name in (report.OWN, "higher", "learn2learn")}
            rows.append({"work": row["work"], "sides": {**sides, "JAX": jax}})
    return report.table(rows)


def benchmark_table(name: str) -> str:
    """Format the saved results of a benchmark, followed by a description of the machine."""
    figures = _measured(name)
    return f"{BENCHMARKS[name](figures['rows'])}\n\n{report.measured_on(figures['machine'])}"


def modules_table(package: str) -> str:
    """Format a table of the modules of a package, with the first line of each module's docstring."""
    rows = ["| module | contents |", "|---|---|"]
    folder = ROOT / "metatui" / package
    for path in sorted(folder.rglob("*.py"), key=lambda path: (len(path.parts), path)):
        summary = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        if path.name != "__init__.py" and summary:
            rows.append(f"| `{path.relative_to(folder)}` | {summary} |")
    return "\n".join(rows)


def tables() -> Mapping[str, str]:
    """Return the generated tables in Markdown, keyed by name."""
    modules = {f"{package}-modules": modules_table(package) for package in PACKAGES}
    measured = {name: benchmark_table(name) for name in BENCHMARKS if (MEASURED / f"{name}.json").is_file()}
    return {
        "settings": settings_table(),
        "presets": presets_table(),
        "headline": headline_table(),
        **modules,
        **measured,
    }


def table_names(text: str) -> list[str]:
    """Return the names of the tables in `text`, in order.

    Raises:
        ValueError: if an opening marker is not followed by its closing marker.
    """
    markers = MARKER.findall(text)
    opening, closing = markers[::2], markers[1::2]
    if [("/", name) for _, name in opening] != closing or any(slash for slash, _ in opening):
        raise ValueError(f"unpaired markers: {', '.join(f'<!-- {slash}{name} -->' for slash, name in markers)}")
    return [name for _, name in opening]


def with_tables(text: str, new: Mapping[str, str]) -> str:
    """Return `text` with the text between each pair of markers replaced by the table of that name in `new`.

    Raises:
        KeyError: if a marker names an unknown table.
    """
    for name in table_names(text):
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}{new[name]}\n{end}{rest.partition(end)[2]}"
    return text


def _measured(name: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((MEASURED / f"{name}.json").read_text(encoding="utf-8"))
    return figures


if __name__ == "__main__":
    new = tables()
    for path in documents():
        path.write_text(with_tables(path.read_text(encoding="utf-8"), new), encoding="utf-8")
