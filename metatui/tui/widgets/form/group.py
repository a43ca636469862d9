"""A group of settings that few people change: folded, and made only when it is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual.app import RenderResult
from textual.binding import BindingType
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from metatui.config.fields import SettingField
from metatui.tui.widgets.form.fields import KnobField


class KnobGroup(Widget, can_focus=True):
    """The row that opens and folds the group. The fields stand below it, and do not exist until `fill`: a form of
    fifty would take as long to show as all the rest."""

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [("enter,space", "fold", "Open or fold")]
    DEFAULT_CSS = """
    KnobGroup { height: 1; width: 1fr; }
    KnobGroup:focus { text-style: bold reverse; }
    """

    folded: reactive[bool] = reactive(True)
    wrong: reactive[int] = reactive(0)
    """How many of its settings are wrong."""

    class Toggled(Message):
        """The group is to show its fields, which may have to be made, or to hide them."""

        def __init__(self, group: KnobGroup) -> None:
            super().__init__()
            self.group = group

    def __init__(self, knobs: Sequence[SettingField], marks: tuple[str, str]) -> None:
        """`marks` stand before the title: of a folded group and of an open one."""
        super().__init__(classes="group")
        self.knobs = knobs
        self._marks = marks
        self._filled = False

    @property
    def title(self) -> str:
        title = f"{self.knobs[0].group.capitalize()} details"
        return f"{title}: {self.wrong} wrong" if self.wrong else title

    def render(self) -> RenderResult:
        return Content(f"{self._marks[not self.folded]} {self.title}")

    async def fill(self, texts: Mapping[str, str]) -> None:
        """Make the fields, if they are not there yet."""
        if not self._filled and isinstance(self.parent, Widget):
            self._filled = True
            await self.parent.mount_all([KnobField(knob, texts[knob.path]) for knob in self.knobs], after=self)

    def judge(self, visible: frozenset[str], problems: Mapping[str, str]) -> None:
        """Hide the group where none of its settings matters; count those that are wrong in its title."""
        self.display = any(knob.path in visible for knob in self.knobs)
        self.wrong = sum(knob.path in problems for knob in self.knobs)
        self.set_class(bool(self.wrong), "-wrong")

    def action_fold(self) -> None:
        self.folded = not self.folded
        self.post_message(self.Toggled(self))

    def on_click(self, event: Click) -> None:
        event.stop()
        self.action_fold()
