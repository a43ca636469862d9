"""Top bar with tabs and state, and key bar at the bottom. Parts that do not fit are omitted, not truncated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from textual.content import Content
from textual.geometry import Region
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from metatui.tui.keyboard.actions import ACTIONS, BY_ID, TABS, Action, AppContext, Phase, Tab, key_name
from metatui.tui.widgets.charts.chart_theme import symbols_of
from metatui.tui.widgets.key_line import CURSOR_KEYS, join_fitting, key_entry, link
from metatui.tui.widgets.text_input import works_in_text


class ContextChanged(Message):
    """Posted by a tab when another pane or row is selected, because this can change which actions are available."""


def choice(text: str, action: str, chosen: bool) -> Content:
    """Return `text` as a link to an action of the app, or as highlighted text if it is the current choice."""
    return Content.styled(text, "bold reverse") if chosen else link(text, f"app.{action}")


class TopBar(Widget):
    """Shows the names of the tabs, and the state of the run that the app is following."""

    tab: reactive[Tab] = reactive[Tab]("work")
    state: reactive[tuple[str, ...]] = reactive((), repaint=False)
    """State of the run, most important parts first. Parts that do not fit are omitted."""
    phase: reactive[Phase] = reactive(Phase.IDLE, repaint=False)
    warned: reactive[bool] = reactive(False, repaint=False)
    """True if the last result of the run is not finite."""

    def _refresh_state(self) -> None:
        # Redraw only a part: Textual visits all widgets in the columns that it redraws, and the form has many.
        start = self._tabs().cell_length
        self.refresh(Region(start, 0, max(0, self.size.width - start), 1))

    watch_state = watch_phase = watch_warned = _refresh_state

    def _tabs(self) -> Content:
        tabs = [
            choice(
                f" {key_name(BY_ID[f'tab_{tab}'].key)} {tab.capitalize()} ", f"perform('tab_{tab}')", tab == self.tab
            )
            for tab in TABS
        ]
        return Content("").join([Content.styled(" metatui  ", "bold"), *tabs])

    def render(self) -> Content:
        left = self._tabs()
        state = ""
        for part in self.state:
            if left.cell_length + len(state) + len(part) + 3 <= self.size.width:
                state += f"  {part}"
        failed = self.state[:1] == ("Failed",)
        if self.phase is Phase.PAUSED or (self.warned and not failed):
            colour = "$text-warning"
        elif self.phase is Phase.IDLE:
            colour = "$text-error" if failed else "$foreground"
        else:
            colour = "$text-success"
        gap = " " * max(0, self.size.width - left.cell_length - len(state) - 1)
        return Content.assemble(left, gap, (state, colour), " ")


FIRST = ("start", "pause", "stop", "live", "undo")
"""Actions that the key bar of the work tab shows first, before the actions of the focused pane."""

PANE_FIRST = ("cursor", "explore")
"""Actions of the focused pane that the key bar shows before the pane's other actions."""

LATER = ("checkpoint", "detach")
"""Actions that the key bar omits first if there is too little room."""

LAST = ("next_pane", "help", "quit")
"""Actions at the end of the key bar, which are always shown."""

IN_LISTS = (
    "open_run", "load_preset", "mark_run", "compare_runs", "resume_run", "delete_run", "report_runs", "load_run"
)  # fmt: skip
"""Actions that the key bar shows first in the runs and presets tabs."""

LABELS = {"step_back": "", "step_on": "Step", "previous_tasks": "", "next_tasks": "Tasks", "load_run": "Load"}
"""Labels that replace those of actions in the key bar, to save room. An action with an empty label shares the label of
the next action."""


class KeyBar(Widget):
    """Shows the keys of as many available actions as fit, and always the keys for the next pane, help and quit."""

    context: reactive[AppContext] = reactive(AppContext())
    typing: reactive[bool] = reactive(False)
    """True while a text field has the focus. Keys that the text field handles are then hidden."""

    def render(self) -> Content:
        last = list(
            self._entries(
                action
                for action in sorted(ACTIONS, key=lambda action: action.id != "next_pane")
                if action.id in LAST and action.tab in (None, self.context.tab)
            )
        )
        cursor = [key_entry(key, symbols_of(self)) for key in CURSOR_KEYS] if self.context.cursor else []
        return join_fitting((*cursor, *self._entries(key_bar_actions(self.context))), last, self.size.width)

    def _entries(self, actions: Iterable[Action]) -> Iterator[Content]:
        pair = Content("")
        for action in actions:
            if key := next((key for key in action.keys.split(",") if not self.typing or works_in_text(key)), None):
                label = LABELS.get(action.id, action.label)
                if action.id == "pause" and self.context.pausing:
                    label = "Continue"
                elif action.id == "pause" and self.context.resumable:
                    label = "Resume"
                perform = f"app.perform('{action.id}')"
                name = link(f" {key_name(key)}{' ' if label else ''}", perform, "$footer-key-foreground bold")
                pair += name + link(f"{label} " if label else "", perform, "$footer-description-foreground")
                if label:
                    yield pair
                    pair = Content("")


def key_bar_actions(context: AppContext) -> list[Action]:
    """Return the actions for the key bar, most useful first."""
    possible = [
        action
        for action in ACTIONS
        if action.bar
        and action.id not in LAST
        and action.tab in (None, context.tab)
        and not action.refusal_reason(context)
    ]

    def rank(action: Action) -> int:
        if context.tab != "work":
            is_first = action.id in IN_LISTS and (action.id != "resume_run" or context.unfinished_row)
            return IN_LISTS.index(action.id) if is_first else len(IN_LISTS) + (action.tab is None)
        if action.id in FIRST:
            return 0
        if action.group == context.group:
            return 1 if action.id in PANE_FIRST else 2
        return 4 if action.id in LATER else 3

    return sorted(possible, key=rank)
