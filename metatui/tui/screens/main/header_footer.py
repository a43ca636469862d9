"""The two rows that are always there: tabs and state above, keys below. Nothing in them is ever cut off."""

from __future__ import annotations

from textual.content import Content, Span
from textual.geometry import Region
from textual.reactive import reactive
from textual.style import Style
from textual.widget import Widget

from metatui.tui.actions import ACTIONS, TABS, Action, AppContext, Phase, Tab

KEY_NAMES = {
    "question_mark": "?",
    "slash": "/",
    "right_square_bracket": "]",
    "left_square_bracket": "[",
    "comma": ",",
    "full_stop": ".",
    "underscore": "_",
}


def key_name(key: str) -> str:
    """How a key is written for a person."""
    if key.startswith("ctrl+"):
        return f"^{KEY_NAMES.get(key[5:], key[5:].upper())}"
    if key.startswith("f") and key[1:].isdigit():
        return key.upper()
    return KEY_NAMES.get(key, key.capitalize() if len(key) > 1 else key)


def link(text: str, action: str, style: str = "$foreground") -> Content:
    """`text`, spaces included, that a click on does `action` of the app."""
    click = Style.from_meta({"@click": f"app.{action}"})
    return Content(text, [Span(0, len(text), style), Span(0, len(text), click)])


def choice(text: str, action: str, chosen: bool) -> Content:
    """A link, or the one of several that is where one is."""
    return Content.styled(text, "bold reverse") if chosen else link(text, action)


class TopBar(Widget):
    """Which tab is open, and what the training in this process is doing or how it ended."""

    tab: reactive[Tab] = reactive[Tab]("work")
    state: reactive[tuple[str, ...]] = reactive((), repaint=False)
    """What it is doing, or how it ended, the most important first: what there is no room for is left out."""
    phase: reactive[Phase] = reactive(Phase.IDLE, repaint=False)
    warned: reactive[bool] = reactive(False, repaint=False)
    """Whether the last result is not finite."""

    def watch_warned(self) -> None:
        self._refresh_state()

    def watch_state(self) -> None:
        self._refresh_state()

    def watch_phase(self) -> None:
        self._refresh_state()

    def _refresh_state(self) -> None:
        # Not the whole row: Textual goes through all widgets in the columns of what it sends, and the form's are many.
        start = self._tabs().cell_length
        self.refresh(Region(start, 0, max(0, self.size.width - start), 1))

    def _tabs(self) -> Content:
        tabs = [
            choice(f" {number} {tab.capitalize()} ", f"perform('tab_{tab}')", tab == self.tab)
            for number, tab in enumerate(TABS, 1)
        ]
        return Content("").join([Content.styled(" metatui  ", "bold"), *tabs])

    def render(self) -> Content:
        left = self._tabs()
        state = ""
        for part in self.state:
            if left.cell_length + len(state) + len(part) + 3 <= self.size.width:
                state += f"  {part}"
        match self.phase:
            case Phase.PAUSED:
                colour = "$text-warning"
            case _ if self.warned and self.state[:1] != ("Failed",):
                colour = "$text-warning"
            case Phase.IDLE:
                colour = "$text-error" if self.state[:1] == ("Failed",) else "$foreground"
            case _:
                colour = "$text-success"
        gap = " " * max(0, self.size.width - left.cell_length - len(state) - 1)
        return Content.assemble(left, gap, (state, colour), " ")


class KeyBar(Widget):
    """The keys that act now, the likeliest first, as many as fit; help and quit always."""

    situation: reactive[AppContext] = reactive(AppContext())

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
        perform = f"perform('{action.id}')"
        key = link(f" {key_name(action.key)} ", perform, "$footer-key-foreground bold")
        return key + link(f"{label} ", perform, "$footer-description-foreground")


def offered(now: AppContext) -> list[Action]:
    """The actions for the key bar in `now`: those of the tab, of the training, then of the window."""
    able = [action for action in ACTIONS if action.bar and action.id not in ("help", "quit") and not action.refuse(now)]
    own = [action for action in able if action.tab == now.tab and now.tab != "work"]
    rest = [action for action in able if action.tab is None or (action.tab == now.tab == "work")]
    return own + rest
