"""The two rows that are always there: tabs and state above, keys below. Nothing in them is ever cut off."""

from __future__ import annotations

from textual.content import Content
from textual.markup import escape
from textual.reactive import reactive
from textual.widget import Widget

from metatui.tui.actions import ACTIONS, TABS, Action, Phase, Situation, Tab

KEY_NAMES = {
    "question_mark": "?",
    "slash": "/",
    "right_square_bracket": "]",
    "left_square_bracket": "[",
    "comma": ",",
    "full_stop": ".",
}


def key_name(key: str) -> str:
    """How a key is written for a person."""
    if key.startswith("ctrl+"):
        return f"^{key[5:].upper()}"
    if key.startswith("f") and key[1:].isdigit():
        return key.upper()
    return KEY_NAMES.get(key, key.capitalize() if len(key) > 1 else key)


class TopBar(Widget):
    """Which tab is open, and what the training in this process is doing."""

    tab: reactive[Tab] = reactive[Tab]("work")
    state: reactive[str] = reactive("")
    phase: reactive[Phase] = reactive(Phase.IDLE)

    def render(self) -> Content:
        tabs = [
            f"[$block-cursor-foreground on $block-cursor-background bold] {number} {tab.capitalize()} [/]"
            if tab == self.tab
            else f"[@click=app.perform('tab_{tab}')] {number} {tab.capitalize()} [/]"
            for number, tab in enumerate(TABS, 1)
        ]
        left = Content.from_markup("[bold] metatui [/] " + "".join(tabs))
        room = self.size.width - left.cell_length - 1
        state = Content(self.state).truncate(max(0, room - 1), ellipsis=True)
        colour = {Phase.IDLE: "$text-muted", Phase.PAUSED: "$text-warning"}.get(self.phase, "$text-success")
        return left + Content(" " * max(0, room - state.cell_length)) + state.stylize(colour)


class KeyBar(Widget):
    """The keys that act now, the likeliest first, as many as fit; help and quit always."""

    situation: reactive[Situation] = reactive(Situation())

    def render(self) -> Content:
        last = [self._entry(action) for action in ACTIONS if action.id in ("help", "quit")]
        room = self.size.width - sum(entry.cell_length for entry in last)
        shown = []
        for action in offered(self.situation):
            entry = self._entry(action)
            if entry.cell_length > room:
                break
            room -= entry.cell_length
            shown.append(entry)
        return Content("").join([*shown, *last])

    def _entry(self, action: Action) -> Content:
        label = action.label
        if action.id == "pause" and self.situation.phase in (Phase.PAUSED, Phase.PAUSING):
            label = "Go on"
        key = escape(key_name(action.key))
        return Content.from_markup(
            f"[@click=app.perform('{action.id}')][$footer-key-foreground bold] {key}[/] "
            f"[$footer-description-foreground]{escape(label)}[/] [/]"
        )


def offered(now: Situation) -> list[Action]:
    """The actions for the key bar in `now`: those of the tab, of the training, then of the window."""
    able = [action for action in ACTIONS if action.bar and action.id not in ("help", "quit") and not action.refuse(now)]
    own = [action for action in able if action.tab == now.tab and now.tab != "work"]
    rest = [action for action in able if action.tab is None or (action.tab == now.tab == "work")]
    return own + rest
