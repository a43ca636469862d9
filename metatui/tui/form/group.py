"""A group of settings that few people change: folded, and made only when it is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.widgets import Collapsible

from metatui.knobs import Knob
from metatui.tui.form.fields import KnobField


class KnobGroup(Collapsible):
    """Its fields do not exist until `fill`: a form of fifty would take as long to show as all the rest."""

    def __init__(self, knobs: Sequence[Knob], folded: str, unfolded: str) -> None:
        self.knobs = knobs
        self._plain_title = f"{knobs[0].group.capitalize()} details"
        super().__init__(title=self._plain_title, collapsed_symbol=folded, expanded_symbol=unfolded)

    async def fill(self, texts: Mapping[str, str]) -> None:
        """Make the fields, if they are not there yet."""
        contents = self.query_one(Collapsible.Contents)
        if not contents.children:
            await contents.mount_all([KnobField(knob, texts[knob.path]) for knob in self.knobs])

    def judge(self, visible: frozenset[str], problems: Mapping[str, str]) -> None:
        """Hide the group where none of its settings matters; count those that are wrong in its title."""
        self.display = any(knob.path in visible for knob in self.knobs)
        wrong = sum(knob.path in problems for knob in self.knobs)
        self.title = f"{self._plain_title}: {wrong} wrong" if wrong else self._plain_title
        self.set_class(bool(wrong), "-wrong")
