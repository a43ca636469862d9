"""The README's tables come out of the program: `python -m tests.readme` writes them between their markers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from metatui import presets
from metatui.knobs import KNOBS, text_of

README = Path(__file__).parent.parent / "README.md"


def settings_table() -> str:
    """Every knob: default, what is allowed, whether it is live, what it means."""
    rows = ["| setting | default | allowed | live | meaning |", "|---|---|---|---|---|"]
    for knob in KNOBS.values():
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


def tables() -> Mapping[str, str]:
    return {"settings": settings_table(), "presets": presets_table()}


def with_tables(text: str) -> str:
    """`text` with what stands between `<!-- name -->` and `<!-- /name -->` made anew."""
    for name, table in tables().items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"the README has no markers for its table of {name}")
        text = before + begin + table + end + after
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
