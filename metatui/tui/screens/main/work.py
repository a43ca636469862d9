"""The work tab: the form on the left, the run beside it, adaptation below; one pane at a time where room is short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantBlur, DescendantFocus
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from metatui.config.settings import Settings
from metatui.tui.actions import Phase
from metatui.tui.controllers.run_model import Monitor
from metatui.tui.screens.main.curves import CurvesPane
from metatui.tui.screens.main.header_footer import choice
from metatui.tui.screens.main.journal import JournalPane
from metatui.tui.screens.main.run_pane import RunPane
from metatui.tui.system_monitor import Load
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.adaptation import AdaptationPanel, RunViews
from metatui.tui.widgets.form.form import SettingsForm
from metatui.tui.widgets.static_text import StaticText

Pane = Literal["settings", "run", "adaptation", "journal"]
PANES: tuple[Pane, ...] = ("settings", "run", "adaptation", "journal")

NARROW, SHORT, WIDE, TALL = 100, 32, 160, 48
"""Below NARROW columns the form and the rest take turns; below SHORT rows the panes of the rest do; from WIDE
columns on the journal stands beside the curves; from TALL rows on the sparklines are higher."""

NO_ADAPTATION = (
    "How the model adapts to tasks it was never trained on appears here after the first validation. "
    "F8 validates now; marking up to three runs in the runs tab (2, then space) shows them beside each other."
)


class PaneStrip(Widget):
    """Which pane is seen, where not all are."""

    pane: reactive[Pane] = reactive[Pane]("settings")

    def render(self) -> Content:
        return Content("").join(
            choice(f" {pane.capitalize()} ", f"pane('{pane}')", pane == self.pane) for pane in PANES
        )


class AdaptationPane(Vertical):
    """Adaptation to held-out tasks, with the protocol above it."""

    BORDER_TITLE = "Adaptation"

    def __init__(self) -> None:
        super().__init__(id="adaptation", classes="pane in-adaptation")

    def compose(self) -> ComposeResult:
        yield StaticText(id="adaptation-caption")
        yield AdaptationPanel(id="adaptation-panel")

    def show(self, runs: Sequence[RunViews], caption: str) -> None:
        line = self.query_one("#adaptation-caption", StaticText)
        line.say(caption)
        line.display = bool(caption)
        self.query_one(AdaptationPanel).show_views(runs, empty=NO_ADAPTATION)


class WorkTab(Vertical):
    """Lays the panes out for the room there is; `pane` is the one that is seen where only one is."""

    pane: reactive[Pane] = reactive[Pane]("settings", init=False)
    maximised: reactive[bool] = reactive(False, init=False)
    form_hidden: reactive[bool] = reactive(False, init=False)

    class PaneChanged(Message):
        """Another pane is seen, or has the focus."""

    def __init__(self, settings: Settings, symbols: Symbols) -> None:
        super().__init__(id="work")
        self.form = SettingsForm(settings, symbols)
        self.curves = CurvesPane()
        self._strip = PaneStrip()
        self._run = RunPane(settings.is_classification)
        self._journal = JournalPane()
        self._adaptation = AdaptationPane()
        self._middle = Horizontal(self.curves, self._journal, id="middle")
        self._right = Vertical(self._run, self._middle, self._adaptation, id="right")

    def compose(self) -> ComposeResult:
        self._lay_out()  # before they are there, so that they are styled and laid out once
        yield self._strip
        yield Horizontal(self.form, self._right, id="panes")

    @property
    def adaptation(self) -> AdaptationPanel:
        return self.query_one(AdaptationPanel)

    def show(self, monitor: Monitor | None, phase: Phase, load: Load) -> None:
        """Show the run; only what changed is drawn."""
        self._run.show(monitor, phase, load)
        self.curves.show(monitor)
        self._journal.show(monitor.journal if monitor else ())

    def show_adaptation(self, runs: Sequence[RunViews], caption: str) -> None:
        self._adaptation.show(runs, caption)

    def go_to(self, pane: Pane) -> None:
        """See `pane` and give it the focus."""
        self.pane = pane
        if pane == "settings":
            self.form_hidden = False
            self.form.focus_first()
        else:
            self.query_one("#adaptation-panel" if pane == "adaptation" else f"#{pane}").focus()

    def step(self, by: int) -> None:
        """The next pane, or the one before."""
        self.go_to(PANES[(PANES.index(self.pane) + by) % len(PANES)])

    def on_resize(self) -> None:
        self._lay_out()

    def watch_pane(self) -> None:
        self._lay_out()
        self.post_message(self.PaneChanged())

    def watch_maximised(self) -> None:
        self._lay_out()

    def watch_form_hidden(self) -> None:
        self._lay_out()

    @on(SettingsForm.Changed)
    def _expect(self, event: SettingsForm.Changed) -> None:
        if settings := event.assessment.settings:
            self._run.expect(settings.is_classification)

    @on(DescendantBlur)
    @on(DescendantFocus)
    def _mark_pane(self) -> None:
        """Give the pane with the focus its border. A rule with `:focus-within` would style every widget in the pane
        anew with each key that moves the focus."""
        focused = self.screen.focused
        within = set(focused.ancestors_with_self) if focused else set()
        self._classify({"-focused": {pane: pane in within for pane in self._panes}})

    @on(DescendantFocus)
    def _follow(self, event: DescendantFocus) -> None:
        if event.widget is not self.screen.focused:  # the focus has moved on since
            return
        for node in (event.widget, *event.widget.ancestors):
            if isinstance(node, SettingsForm):
                self.pane = "settings"
            elif isinstance(node, RunPane | CurvesPane):
                self.pane = "run"
            elif isinstance(node, AdaptationPane):
                self.pane = "adaptation"
            elif isinstance(node, JournalPane):
                self.pane = "journal"

    @property
    def _panes(self) -> tuple[Widget, ...]:
        return self.form, self._run, self.curves, self._journal, self._adaptation

    def _lay_out(self) -> None:
        width, height = self.app.size
        one_side = width < NARROW or self.maximised
        one_right = height < SHORT or self.maximised
        at_form = self.pane == "settings"
        self.form.display = at_form if one_side else not self.form_hidden
        self._right.display = not (one_side and at_form)
        seen = "run" if at_form else self.pane
        self._run.display = self.curves.display = not one_right or seen == "run"
        self._journal.display = not one_right or seen == "journal"
        self._middle.display = not one_right or seen in ("run", "journal")
        self._adaptation.display = not one_right or seen == "adaptation"
        self._strip.display, self._strip.pane = one_side or one_right, self.pane
        wide = width >= WIDE and not one_right
        self._classify(
            {
                "-alone": {self.form: one_side, **dict.fromkeys(self._panes[1:], one_right)},
                "-wide": dict.fromkeys((self._middle, self.curves, self._journal), wide),
                "-tall": dict.fromkeys(self._run.sparklines, height >= TALL or one_right),
                "-low": {self.form.hint: one_side},
            }
        )

    def _classify(self, wanted: Mapping[str, Mapping[Widget, bool]]) -> None:
        """Give widgets their classes, and style those anew that have others now: not, as Textual would, all that is in
        them, which nothing in the stylesheet asks for and takes as long as to draw a frame."""
        changed = set()
        for name, nodes in wanted.items():
            for node, holds in nodes.items():
                if node.has_class(name) != holds:
                    node.set_class(holds, name, update=False)
                    changed.add(node)
        if changed and self.is_mounted:
            self.app.stylesheet.update_nodes(changed)
