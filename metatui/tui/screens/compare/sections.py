"""The sections of a comparison, and the strip that says which of them is seen."""

from __future__ import annotations

from typing import Final, Literal

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

Section = Literal["training", "adaptation", "result", "tables"]
SECTIONS: Final[tuple[Section, ...]] = ("training", "adaptation", "result", "tables")
READ: Final[tuple[Section, ...]] = ("result", "tables")
"""Those that are read, below the curves."""


class SectionStrip(Widget):
    """Which section is seen, where not all are."""

    DEFAULT_CSS = """
    SectionStrip {
        height: 1; color: $text-muted;
        link-style: none; link-color: $foreground; link-background: transparent; link-style-hover: underline;
    }
    """

    section: reactive[Section] = reactive[Section]("training")

    def render(self) -> Content:
        parts = []
        for number, section in enumerate(SECTIONS, 1):
            text = f" {number} {section.capitalize()} "
            if section == self.section:
                parts.append(Content.styled(text, "bold reverse"))
            else:
                parts.append(Content.from_markup(f"[@click=screen.section('{section}')]{text}[/]"))
        return Content("").join(parts)
