"""Work tab: the form on the left, the run on the right. Small terminals show one pane at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantBlur, DescendantFocus
from textual.reactive import reactive
from textual.widget import Widget

from metatui.config.settings import Settings
from metatui.tui.actions import Phase
from metatui.tui.model.run_model import RunModel
from metatui.tui.screens.main.curves import CurvesPane
from metatui.tui.screens.main.header_footer import ContextChanged, choice
from metatui.tui.screens.main.journal import JournalPane
from metatui.tui.screens.main.run_pane import RunPane
from metatui.tui.system_monitor import Load
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.adaptation import AdaptationPanel, RunViews
from metatui.tui.widgets.form.form import SettingsForm
from metatui.tui.widgets.static_text import StatusLine

Pane = Literal["settings", "run", "adaptation", "journal"]
PANES: tuple[Pane, ...] = ("settings", "run", "adaptation", "journal")

NARROW, SHORT, WIDE, TALL = 100, 32, 160, 48
"""Limits of the layout, in columns and rows. Below NARROW, only the form or another pane is visible; below SHORT, only
one of the other panes is. From WIDE, the journal is next to the curves; from TALL, the sparklines are higher."""

NO_ADAPTATION = (
    "Adaptation to held-out tasks appears here after the first validation. F8 validates now. To see up to three runs "
    "side by side, mark them in the runs tab (2, then space)."
)


class PaneStrip(Widget):
    """Shows the names of the panes if not all panes are visible."""

    pane: reactive[Pane] = reactive[Pane]("settings")

    def render(self) -> Content:
        return Content("").join(
            choice(f" {pane.capitalize()} ", f"pane('{pane}')", pane == self.pane) for pane in PANES
        )


class HintLine(StatusLine):
    """Shows a hint about the run; a click follows it."""

    def __init__(self) -> None:
        super().__init__(id="hint")

    async def on_click(self) -> None:
        await self.app.run_action("perform('hint')")


class AdaptationPane(Vertical):
    """Adaptation to held-out tasks, below its protocol."""

    BORDER_TITLE = "Adaptation"

    def __init__(self) -> None:
        super().__init__(id="adaptation", classes="pane in-adaptation")

    def compose(self) -> ComposeResult:
        yield StatusLine(id="adaptation-caption")
        yield AdaptationPanel(id="adaptation-panel")

    def show(self, runs: Sequence[RunViews], caption: str, *, warning: bool) -> None:
        line = self.query_one("#adaptation-caption", StatusLine)
        line.update(caption)
        line.set_class(warning, "-warning")
        self.query_one(AdaptationPanel).show_views(runs, empty=NO_ADAPTATION)


class WorkTab(Vertical):
    """Arranges the panes for the size of the terminal."""

    pane: reactive[Pane] = reactive[Pane]("settings", init=False)
    """The visible pane when only one pane is shown."""
    maximised: reactive[bool] = reactive(False, init=False)
    form_hidden: reactive[bool] = reactive(False, init=False)

    def __init__(self, settings: Settings, symbols: Symbols) -> None:
        super().__init__(id="work")
        self.form = SettingsForm(settings, symbols)
        self.curves = CurvesPane()
        self.hint = HintLine()
        self._strip = PaneStrip()
        self._run = RunPane(settings.is_classification)
        self._journal = JournalPane()
        self._adaptation = AdaptationPane()
        self._middle = Horizontal(self.curves, self._journal, id="middle")
        self._right = Vertical(self._run, self._middle, self._adaptation, id="right")
        self._panes: tuple[Widget, ...] = (self.form, self._run, self.curves, self._journal, self._adaptation)

    def compose(self) -> ComposeResult:
        self._lay_out()  # before mounting, so that the widgets are styled and laid out once
        yield self._strip
        yield Horizontal(self.form, self._right, id="panes")
        yield self.hint

    @property
    def adaptation(self) -> AdaptationPanel:
        return self.query_one(AdaptationPanel)

    def show(self, model: RunModel | None, phase: Phase, load: Load) -> None:
        """Show a run, redrawing only changes."""
        self._run.show(model, phase, load)
        self.curves.show(model)
        self._journal.show(model.journal if model else ())

    def show_adaptation(self, runs: Sequence[RunViews], caption: str, *, warning: bool = False) -> None:
        self._adaptation.show(runs, caption, warning=warning)

    def go_to(self, pane: Pane) -> None:
        """Show and focus a pane."""
        self.pane = pane
        if pane == "settings":
            self.form_hidden = False
            self.form.focus_first()
        else:
            self.query_one("#adaptation-panel" if pane == "adaptation" else f"#{pane}").focus()

    def action_next_pane(self, by: int = 1) -> None:
        self.go_to(PANES[(PANES.index(self.pane) + by) % len(PANES)])

    def action_previous_pane(self) -> None:
        self.action_next_pane(-1)

    def action_maximize(self) -> None:
        self.maximised = not self.maximised

    def action_form(self) -> None:
        self.form_hidden = not self.form_hidden
        self.go_to("run" if self.form_hidden else "settings")

    def action_log_scale(self) -> None:
        self.curves.view = self.curves.view.other_scale()

    def action_smoothing(self) -> None:
        self.curves.view = self.curves.view.next_smoothing()

    def action_against(self) -> None:
        self.curves.view = self.curves.view.other_axis()

    def action_metric(self) -> None:
        self.curves.view = self.curves.view.other_metric()

    def action_step_back(self) -> None:
        self.adaptation.action_step(-1)

    def action_step_on(self) -> None:
        self.adaptation.action_step(1)

    def action_previous_tasks(self) -> None:
        self.adaptation.action_page(-1)

    def action_next_tasks(self) -> None:
        self.adaptation.action_page(1)

    def action_next_shots(self) -> None:
        self.adaptation.action_shots()

    def on_resize(self) -> None:
        self._lay_out()

    def watch_pane(self) -> None:
        self._lay_out()
        self.post_message(ContextChanged())

    def watch_maximised(self) -> None:
        self._lay_out()

    def watch_form_hidden(self) -> None:
        self._lay_out()

    @on(SettingsForm.Changed)
    def _form_changed(self, event: SettingsForm.Changed) -> None:
        if settings := event.assessment.settings:
            self._run.expect(settings.is_classification)

    @on(DescendantBlur)
    @on(DescendantFocus)
    def _mark_focused_pane(self) -> None:
        # A CSS rule with `:focus-within` would restyle every widget in the pane when the focus moves.
        focused = self.screen.focused
        within = set(focused.ancestors_with_self) if focused else set()
        self._set_classes({"-focused": {pane: pane in within for pane in self._panes}})

    @on(DescendantFocus)
    def _follow_focus(self, event: DescendantFocus) -> None:
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
        width, height = self.app.size
        one_side = width < NARROW or self.maximised
        one_right = height < SHORT or self.maximised
        at_form = self.pane == "settings"
        self.form.display = at_form if one_side else not self.form_hidden
        self._right.display = not (one_side and at_form)
        visible = "run" if at_form else self.pane
        self._run.display = self.curves.display = not one_right or visible == "run"
        self._journal.display = not one_right or visible == "journal"
        self._middle.display = not one_right or visible in ("run", "journal")
        self._adaptation.display = not one_right or visible == "adaptation"
        self._strip.display, self._strip.pane = one_side or one_right, self.pane
        wide = width >= WIDE and not one_right
        self._set_classes(
            {
                "-alone": {self.form: one_side, **dict.fromkeys(self._panes[1:], one_right)},
                "-wide": dict.fromkeys((self._middle, self.curves, self._journal), wide),
                "-tall": dict.fromkeys(self._run.sparklines, height >= TALL or one_right),
                "-low": {self.form.hint: one_side},
            }
        )

    def _set_classes(self, classes: Mapping[str, Mapping[Widget, bool]]) -> None:
        """Set classes and restyle only the widgets whose classes changed.

        Textual would also restyle their descendants, which no rule in the style sheet needs and which takes as long as
        drawing a frame.
        """
        changed = set()
        for name, nodes in classes.items():
            for node, is_set in nodes.items():
                if node.has_class(name) != is_set:
                    node.set_class(is_set, name, update=False)
                    changed.add(node)
        if changed and self.is_mounted:
            self.app.stylesheet.update_nodes(changed)
