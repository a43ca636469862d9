"""The work tab: the form on the left, the run beside it, adaptation below; one pane at a time where room is short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantBlur, DescendantFocus
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from metatui.settings import Settings
from metatui.tui.actions import Phase
from metatui.tui.adaptation import AdaptationPanel, RunViews
from metatui.tui.form.form import SettingsForm
from metatui.tui.monitor import Monitor
from metatui.tui.panes.bars import choice
from metatui.tui.panes.curves import CurvesPane
from metatui.tui.panes.journal import JournalPane
from metatui.tui.panes.run_pane import RunPane
from metatui.tui.resources import Load
from metatui.tui.symbols import Symbols
from metatui.tui.words import Words

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
        yield Words(id="adaptation-caption")
        yield AdaptationPanel(id="adaptation-panel")

    def show(self, runs: Sequence[RunViews], caption: str) -> None:
        line = self.query_one("#adaptation-caption", Words)
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
        self._settings, self._symbols = settings, symbols

    def compose(self) -> ComposeResult:
        self._classify(update=False)  # before the panes are there, which then need to be styled only once
        yield PaneStrip()
        with Horizontal(id="panes"):
            yield SettingsForm(self._settings, self._symbols)
            with Vertical(id="right"):
                yield RunPane(self._settings.is_classification)
                with Horizontal(id="middle"):
                    yield CurvesPane()
                    yield JournalPane()
                yield AdaptationPane()

    @property
    def form(self) -> SettingsForm:
        return self.query_one(SettingsForm)

    @property
    def curves(self) -> CurvesPane:
        return self.query_one(CurvesPane)

    @property
    def adaptation(self) -> AdaptationPanel:
        return self.query_one(AdaptationPanel)

    def show(self, monitor: Monitor | None, phase: Phase, load: Load) -> None:
        """Show the run; only what changed is drawn."""
        self.query_one(RunPane).show(monitor, phase, load)
        self.curves.show(monitor)
        self.query_one(JournalPane).show(monitor.journal if monitor else ())

    def show_adaptation(self, runs: Sequence[RunViews], caption: str) -> None:
        self.query_one(AdaptationPane).show(runs, caption)

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

    def on_mount(self) -> None:
        self._lay_out()

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
            self.query_one(RunPane).expect(settings.is_classification)

    @on(DescendantBlur)
    @on(DescendantFocus)
    def _mark_pane(self) -> None:
        """Give the pane with the focus its border. A rule with `:focus-within` would style every widget in the pane
        anew with each key that moves the focus."""
        focused = self.screen.focused
        within = set(focused.ancestors_with_self) if focused else set()
        for pane in self.query(".pane"):
            if pane.has_class("-focused") != (pane in within):
                pane.set_class(pane in within, "-focused", update=False)
                self.app.stylesheet.update_nodes([pane])

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

    def _lay_out(self) -> None:
        one_side, one_right = self._short_of_room
        at_form = self.pane == "settings"
        self.form.display = at_form if one_side else not self.form_hidden
        self.query_one("#right").display = not (one_side and at_form)
        seen = "run" if at_form else self.pane
        self.query_one(RunPane).display = self.curves.display = not one_right or seen == "run"
        self.query_one(JournalPane).display = not one_right or seen == "journal"
        self.query_one("#middle").display = not one_right or seen in ("run", "journal")
        self.query_one(AdaptationPane).display = not one_right or seen == "adaptation"
        self._classify()
        strip = self.query_one(PaneStrip)
        strip.display, strip.pane = one_side or one_right, self.pane

    @property
    def _short_of_room(self) -> tuple[bool, bool]:
        """Whether the form and the rest take turns, and whether the panes of the rest do."""
        width, height = self.app.size
        return width < NARROW or self.maximised, height < SHORT or self.maximised

    def _classify(self, *, update: bool = True) -> None:
        """Say in classes, which the stylesheet goes by, how much room there is."""
        one_side, one_right = self._short_of_room
        width, height = self.app.size
        room = {
            "-one-side": one_side,
            "-one-right": one_right,
            "-wide": width >= WIDE and not one_right,
            "-tall": height >= TALL or one_right,
        }
        before = self.classes
        for name, holds in room.items():
            self.set_class(holds, name, update=False)
        if update and self.classes != before:
            self.update_node_styles(animate=False)
