"""Work tab: the form, and the shown run with its curves, journal and adaptation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.events import DescendantBlur, DescendantFocus, MouseDown, MouseEvent, MouseMove, MouseUp
from textual.geometry import Offset, Size
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from metatui.config.settings import Settings
from metatui.tui.keyboard.actions import ADAPTATION, CHARTS, Phase, with_keys
from metatui.tui.model.run_model import RunModel
from metatui.tui.model.system_monitor import Load
from metatui.tui.preferences import PaneSizes, Preferences
from metatui.tui.screens.main.about import AboutPane
from metatui.tui.screens.main.curves import CurvesPane, MarkedRun
from metatui.tui.screens.main.header_footer import ContextChanged, choice
from metatui.tui.screens.main.journal import JournalPane
from metatui.tui.screens.main.layout import (
    NARROW,
    ONE_PANE,
    SHORT,
    WIDE,
    Divider,
    Pane,
    PaneOptions,
    PanesLayout,
    visible,
)
from metatui.tui.screens.main.run_pane import RunPane
from metatui.tui.screens.main.status_line import ShownLine
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.adaptation import AdaptationPanel, RunViews
from metatui.tui.widgets.form.form import SettingsForm
from metatui.tui.widgets.static_text import StatusLine

PANES: tuple[Pane, ...] = ("settings", "run", "curves", "adaptation", "journal")

NO_ADAPTATION = "Adaptation to held-out tasks appears here after the first validation."
VALIDATE = "To validate now, press {evaluate}."
NEVER_VALIDATED = "This run ended before its first validation, so there is no adaptation to held-out tasks to show."
SIDE_BY_SIDE = "To see up to three runs side by side, mark them in the runs tab ({tab_runs}, then {mark_run})."


class PreferencesChanged(Message):
    """The user resized panes or, while a run was shown, showed or hid the form."""

    def __init__(self, **changes: PaneSizes | bool) -> None:
        super().__init__()
        self.changes = changes


class PaneStrip(Widget):
    """Shows the names of all panes, so that the user can select one. It is shown if not all panes are visible."""

    panes: reactive[tuple[Pane, ...]] = reactive(PANES)
    pane: reactive[Pane] = reactive[Pane]("settings")

    def render(self) -> Content:
        return Content("").join(
            choice(f" {pane.capitalize()} ", f"pane('{pane}')", pane == self.pane) for pane in self.panes
        )


class HintLine(StatusLine):
    """Shows a hint about the run. Clicking the line does what the hint suggests."""

    def __init__(self) -> None:
        super().__init__(id="hint")

    async def on_click(self) -> None:
        await self.app.run_action("perform('hint')")


class AdaptationPane(Vertical):
    """Shows the adaptation to held-out tasks, below a line that describes the evaluation."""

    BORDER_TITLE = "Adaptation"

    def __init__(self) -> None:
        super().__init__(id="adaptation", classes="pane in-adaptation")

    def compose(self) -> ComposeResult:
        yield StatusLine(id="adaptation-caption")
        yield AdaptationPanel(id="adaptation-panel")

    def show(self, runs: Sequence[RunViews], caption: str, *, warning: bool = False, empty: str = "") -> None:
        """Show how the models of runs adapt to held-out tasks, or the text `empty` if there are no runs."""
        line = self.query_one("#adaptation-caption", StatusLine)
        line.update(caption)
        line.set_class(warning, "-warning")
        self.query_one(AdaptationPanel).show_views(runs, empty=empty)


def no_adaptation(model: RunModel | None, phase: Phase) -> str:
    """Return a message that says why there is no adaptation to show, and what the user can do.

    Args:
        phase: state of the run, or IDLE if the app is not following the run.
    """
    is_over = model is not None and not phase.active and not model.is_live
    validate = [VALIDATE] if phase.active and phase is not Phase.STOPPING else []
    return with_keys(" ".join([NEVER_VALIDATED if is_over else NO_ADAPTATION, *validate, SIDE_BY_SIDE]))


class Panes(Widget):
    """Container of the panes. The user can drag the borders between them with the mouse."""

    def __init__(self, sizes: PaneSizes, panes: Sequence[Widget]) -> None:
        super().__init__(*panes, id="panes")
        self._arranger = PanesLayout(sizes)
        self._dragged: Divider | None = None

    @property
    def layout(self) -> PanesLayout:
        return self._arranger

    def show(self, sizes: PaneSizes) -> None:
        """Change the sizes of the panes."""
        if sizes != self._arranger.sizes:
            self._arranger.sizes = sizes
            self._first.refresh(layout=True)  # Textual would keep the arrangement if only this widget changed

    def resize(self, pane: str, by: Offset) -> None:
        """Make a pane wider or taller by some columns or rows, and save its size."""
        self.show(self._arranger.arrangement.resized(pane, by, self._arranger.sizes))
        self._remember()

    def reset(self) -> None:
        """Give all panes their default sizes."""
        self.show(PaneSizes())
        self._remember()

    def _remember(self) -> None:
        self.post_message(PreferencesChanged(panes=self._arranger.sizes))

    def on_mouse_down(self, event: MouseDown) -> None:
        self._dragged = self._arranger.arrangement.divider_at(self._position(event))
        if self._dragged:
            event.stop()
            self._first.capture_mouse()

    def on_mouse_move(self, event: MouseMove) -> None:
        if self._dragged:
            self.show(self._arranger.arrangement.moved(self._dragged, self._position(event), self._arranger.sizes))

    def on_mouse_up(self, event: MouseUp) -> None:
        if self._dragged:
            self._dragged = None
            self._first.release_mouse()
            self._remember()

    @property
    def _first(self) -> Widget:
        """The first visible pane, which captures the mouse for this container.

        The container itself has the style `visibility: hidden`. Textual therefore does not know its position and cannot
        send it the events of a captured mouse. Events that Textual sends to a pane bubble up to the container.
        """
        return next(pane for pane in self.children if pane.display)

    def _position(self, event: MouseEvent) -> Offset:
        origin = next(region for part, region in self._arranger.arrangement.regions.items() if part == self._first.id)
        return event.screen_offset - self._first.region.offset + origin.offset


class WorkTab(Vertical):
    """Shows as many panes as the terminal has room for."""

    pane: reactive[Pane] = reactive[Pane]("settings", init=False)
    """The selected pane. If there is room for only one pane, the selected pane is shown."""
    maximised: reactive[bool] = reactive(False, init=False)
    form_hidden: reactive[bool] = reactive(False, init=False)

    def __init__(self, settings: Settings, symbols: Symbols, preferences: Preferences) -> None:
        super().__init__(id="work")
        self.form = SettingsForm(settings, symbols)
        self.curves = CurvesPane()
        self.hint = HintLine()
        self.status = ShownLine()
        self._fold_form = preferences.fold_form
        self._shows_run = False
        """True if the tab shows a run, or the marked runs side by side. False if there is nothing to show."""
        self._pane_before: Pane = "run"
        """The pane that gets the focus when the user leaves the form."""
        self._strip = PaneStrip()
        self._about = AboutPane(settings)
        self._run = RunPane()
        self._journal = JournalPane()
        self.adaptation_pane = AdaptationPane()
        self._parts: tuple[Widget, ...] = (
            self.form, self._about, self._run, self.curves, self.adaptation_pane, self._journal
        )  # fmt: skip
        self._panes = Panes(preferences.panes, self._parts)

    def compose(self) -> ComposeResult:
        self._lay_out()  # before mounting, so that the widgets are styled and laid out once
        yield self.status
        yield self.hint  # above the panes, because notifications cover the lowest rows
        yield self._strip
        yield self._panes

    async def finish_start(self) -> None:
        """Add the remaining parts, which the first frame leaves out to make the app start faster."""
        self._about.finish_start()
        await self.form.unfold_groups()

    @property
    def adaptation(self) -> AdaptationPanel:
        return self.query_one(AdaptationPanel)

    def show(self, model: RunModel | None, phase: Phase, load: Load, marked: Sequence[MarkedRun] = ()) -> None:
        """Show a run, or the marked runs if no run is shown. Only parts that have changed are redrawn."""
        self._run.show(model, phase, load, [run.label for run in marked])
        self.curves.show(model, phase, marked)
        self._journal.show(model.journal if model else ())

    def show_run_panes(self, shown: bool, *, fold: bool = True) -> None:
        """Adapt the layout when a run is opened or closed.

        Opening a run hides the form if `fold` is true, unless the user has chosen to keep the form visible.
        """
        self._shows_run = shown
        self.form_hidden = shown and fold and self._fold_form
        self._lay_out()

    @property
    def reachable(self) -> tuple[Pane, ...]:
        """The panes that have content and can be selected. The run and its curves are one pane in a narrow terminal."""
        if not self._shows_run:
            return PANES[:2]
        return tuple(pane for pane in PANES if pane != "curves" or self.app.size.width >= NARROW)

    @property
    def reachable_pane(self) -> Pane:
        """The selected pane, or `run` if the selected pane cannot be reached."""
        return self.pane if self.pane in self.reachable else "run"

    @property
    def group(self) -> str:
        """The group of actions that belong to the focused pane, or an empty string if the pane has no group."""
        if not self._shows_run or self.pane not in ("run", "curves", "adaptation"):
            return ""
        return ADAPTATION if self.pane == "adaptation" else CHARTS

    def go_to(self, pane: Pane) -> None:
        """Show and focus a pane."""
        if pane not in self.reachable:
            pane = "run"
        self.pane = pane
        if pane == "settings":
            self.form_hidden = False
            self.form.focus_first()
        elif not self._shows_run:
            self.query_one("#explanation").focus()
        else:
            self.query_one("#adaptation-panel" if pane == "adaptation" else f"#{pane}").focus()

    def action_next_pane(self, by: int = 1) -> None:
        panes = self.reachable
        self.go_to(panes[(panes.index(self.reachable_pane) + by) % len(panes)])

    def action_previous_pane(self) -> None:
        self.action_next_pane(-1)

    def action_maximize(self) -> None:
        self.maximised = not self.maximised

    def action_form(self) -> None:
        """Go to the form, or back to the previous pane if the form has the focus.

        If there is room for several panes, going back hides the form. This choice is remembered for later runs.
        """
        leaves = self.screen.focused is not None and self.form in self.screen.focused.ancestors
        self.go_to(self._pane_before if leaves else "settings")
        several = self.app.size.width >= NARROW and not self.maximised
        if several and self._shows_run and self._fold_form != leaves:
            self._fold_form = leaves
            self.post_message(PreferencesChanged(fold_form=leaves))
        if leaves:
            self.form_hidden = several or (self._shows_run and self._fold_form)

    def action_wider(self) -> None:
        self._resize(Offset(4, 0))

    def action_narrower(self) -> None:
        self._resize(Offset(-4, 0))

    def action_higher(self) -> None:
        self._resize(Offset(0, 2))

    def action_lower(self) -> None:
        self._resize(Offset(0, -2))

    def action_usual_sizes(self) -> None:
        self._panes.reset()

    def _resize(self, by: Offset) -> None:
        self._panes.resize(next((part.id or "" for part in self._parts if part.has_class("-focused")), ""), by)

    def action_log_scale(self) -> None:
        self.curves.view = self.curves.view.other_scale()

    def action_smoothing(self) -> None:
        self.curves.view = self.curves.view.next_smoothing()

    def action_against(self) -> None:
        self.curves.view = self.curves.view.other_axis()

    def action_metric(self) -> None:
        self.curves.view = self.curves.view.other_metric()

    def action_cursor(self) -> None:
        if not self.curves.display:
            self.go_to("run")
        self.curves.chart.action_cursor()

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

    def watch_pane(self, before: Pane) -> None:
        if before != "settings":
            self._pane_before = before
        self._lay_out()
        self.post_message(ContextChanged())

    @on(SettingsForm.Changed)
    def _form_changed(self, event: SettingsForm.Changed) -> None:
        if settings := event.assessment.settings:
            self._about.describe(settings)

    @on(DescendantBlur)
    @on(DescendantFocus)
    def _mark_focused_pane(self) -> None:
        # A CSS rule with `:focus-within` would restyle every widget in the pane when the focus moves.
        focused = self.screen.focused
        within = set(focused.ancestors_with_self) if focused else set()
        self._set_classes({"-focused": {pane: pane in within for pane in self._parts}})

    @on(DescendantFocus)
    def _follow_focus(self, event: DescendantFocus) -> None:
        if event.widget is not self.screen.focused:  # the focus has moved on since
            return
        for node in (event.widget, *event.widget.ancestors):
            if isinstance(node, SettingsForm):
                self.pane = "settings"
            elif isinstance(node, CurvesPane):
                if not (self.maximised and self.pane == "run"):  # the run above its curves
                    self.pane = "curves"
            elif isinstance(node, RunPane | AboutPane):
                self.pane = "run"
            elif isinstance(node, AdaptationPane):
                self.pane = "adaptation"
            elif isinstance(node, JournalPane):
                self.pane = "journal"

    def _lay_out(self) -> None:
        terminal = self.app.size
        view = PaneOptions(self.pane, self.maximised, not self.form_hidden, self._shows_run)
        parts = visible(terminal, view)
        alone = parts in ONE_PANE.values() or parts == ("about",)
        for part in self._parts:
            part.display = part.id in parts
        self._strip.display = len(parts) < len(visible(Size(WIDE, SHORT), replace(view, maximised=False)))
        self._strip.panes, self._strip.pane = self.reachable, self.reachable_pane
        self._set_classes(
            {
                "-alone": dict.fromkeys(self._parts, alone),
                "-column": dict.fromkeys(self._run.resizable, "journal" in parts and "form" not in parts and not alone),
                "-low": {self.form.hint: alone},
            }
        )

    watch_maximised = watch_form_hidden = _lay_out

    def _set_classes(self, classes: Mapping[str, Mapping[Widget, bool]]) -> None:
        """Set CSS classes of widgets, and restyle only the widgets whose classes have changed.

        By default, Textual also restyles the descendants of these widgets, which takes as long as drawing a frame. No
        rule in the style sheet requires this.
        """
        changed = set()
        for name, nodes in classes.items():
            for node, is_set in nodes.items():
                if node.has_class(name) != is_set:
                    node.set_class(is_set, name, update=False)
                    changed.add(node)
        if changed and self.is_mounted:
            self.app.stylesheet.update_nodes(changed)
