"""The README's tables come out of the program: `python -m tests.readme` writes them between their markers.

Those of figures come out of what the benchmarks have last measured, which is kept in `tests/benchmarks/measured`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metatui.config import presets
from metatui.config.fields import FIELDS, text_of
from tests.benchmarks import finn_table, memory, product, report

README = Path(__file__).parent.parent / "README.md"
MEASURED = Path(__file__).parent / "benchmarks" / "measured"

BENCHMARKS = {
    "side-by-side": report.table,
    "product": product.table,
    "memory": memory.table,
    "gpu": report.table,
    "finn-table": finn_table.table,
}
"""What makes a table of the rows in the file of that name in `MEASURED`, once it has been measured."""


def settings_table() -> str:
    """Every knob: default, what is allowed, whether it is live, what it means."""
    rows = ["| setting | default | allowed | live | meaning |", "|---|---|---|---|---|"]
    for knob in FIELDS.values():
        live = "live" if knob.live else ""
        rows.append(f"| `{knob.path}` | {text_of(knob.default)} | {knob.allowed} | {live} | {knob.help} |")
    return "\n".join(rows)


def presets_table() -> str:
    """Every bundled preset with its protocol and numbers."""
    rows = ["| preset | protocol | published | measured by us |", "|---|---|---|---|"]
    rows += (
        f"| `{preset.name}` | {preset.protocol} | {preset.published or '–'} | {preset.measured or '–'} |"
        for preset in presets.bundled()
    )
    return "\n".join(rows)


def measured_table(name: str) -> str:
    """What a benchmark wrote with `--json`, and what it was measured on."""
    figures: dict[str, Any] = json.loads((MEASURED / f"{name}.json").read_text(encoding="utf-8"))
    return f"{BENCHMARKS[name](figures['rows'])}\n\n{report.measured_on(figures['machine'])}"


def tables() -> Mapping[str, str]:
    measured = {name: measured_table(name) for name in BENCHMARKS if (MEASURED / f"{name}.json").is_file()}
    return {"settings": settings_table(), "presets": presets_table(), **measured}


def with_tables(text: str) -> str:
    """`text` with what stands between `<!-- name -->` and `<!-- /name -->` made anew."""
    for name, table in tables().items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"the README has no markers for its table of {name}")
        text = f"{before}{begin}{table}\n{end}{after}"
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
