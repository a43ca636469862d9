"""The app's window: tabs, bars, actions by key, mouse and palette, themes. What the actions do is in `app`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.filter import LineFilter
from textual.notifications import SeverityLevel
from textual.reactive import Reactive
from textual.screen import Screen
from textual.theme import Theme
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Input

from metatui.config.settings import Settings
from metatui.tui.actions import ACTIONS, BY_ID, TABS, AppContext, Tab
from metatui.tui.preferences import save_theme
from metatui.tui.screens.main.curves import View
from metatui.tui.screens.main.header_footer import KeyBar, TopBar
from metatui.tui.screens.main.work import Pane, WorkTab
from metatui.tui.terminal.keyboard import Keyboard
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.themes import CYCLE, AsciiFilter
from metatui.tui.widgets.form.form import SettingsForm
from metatui.utils.errors import MetatuiError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from metatui.tui.screens.main.presets_tab import PresetsTab
    from metatui.tui.screens.main.runs_tab import RunsTab


class BaseScreen(Screen[None]):
    """The screen under all dialogs. The app gives the focus itself: to whatever comes first would take a second round
    of styles before the first frame."""

    AUTO_FOCUS = ""
    # What has the focus draws itself anew, and what had it; Textual would draw the whole screen.
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)


class Window(App[None], inherit_bindings=False):
    """Everything around the training."""

    TITLE = "metatui"
    NOTIFICATION_TIMEOUT = 4
    CSS_PATH = Path("metatui.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(action.keys, f"perform('{action.id}')", action.label, tooltip=action.help, show=False, id=action.id)
            for action in ACTIONS
            if action.tab in (None, "work")
        ),
        # Before the focused widget, so that what is typed right after them goes to the next field and not to this one.
        Binding("tab", "focus_next", show=False, priority=True),
        Binding("shift+tab", "focus_previous", show=False, priority=True),
        Binding("ctrl+c", "help_quit", show=False, system=True),
    ]

    def __init__(self, settings: Settings, *, runs_dir: Path, symbols: Symbols, theme: str) -> None:
        super().__init__(driver_class=Keyboard)
        self.symbols = symbols
        """Which glyphs the charts draw with."""
        self._opening_settings = settings
        self._runs_dir = runs_dir
        self._ascii = AsciiFilter()
        self._completing = asyncio.Lock()
        self.animation_level = "none"
        self.theme = theme

    def compose(self) -> ComposeResult:
        yield TopBar(id="top-bar")
        with ContentSwitcher(initial="work", id="tabs"):
            yield WorkTab(self._opening_settings, self.symbols)
        yield KeyBar(id="key-bar")

    def get_default_screen(self) -> BaseScreen:
        return BaseScreen(id="_default")

    async def complete(self) -> None:
        """Make what the first frame does without: the other tabs. Whatever may need them does this first."""
        async with self._completing:
            tabs = self.screen_stack[0].query_one(ContentSwitcher)
            if len(tabs.children) == len(TABS):
                return
            from metatui.runs.storage.store import RunStore
            from metatui.tui.screens.main.presets_tab import PresetsTab
            from metatui.tui.screens.main.runs_tab import RunsTab

            runs, presets = RunsTab(RunStore(self._runs_dir)), PresetsTab()
            runs.display = presets.display = False
            await tabs.mount(runs, presets)

    @property
    def work_tab(self) -> WorkTab:
        return self.screen_stack[0].query_one(WorkTab)

    @property
    def form(self) -> SettingsForm:
        return self.work_tab.form

    @property
    def runs_tab(self) -> RunsTab:
        return cast("RunsTab", self.screen_stack[0].query_one("#runs"))

    @property
    def presets_tab(self) -> PresetsTab:
        return cast("PresetsTab", self.screen_stack[0].query_one("#presets"))

    @property
    def tab(self) -> Tab:
        return self.screen_stack[0].query_one(TopBar).tab

    @property
    def situation(self) -> AppContext:
        """What decides which actions make sense now."""
        raise NotImplementedError

    def panic(self, *renderables: RenderableType) -> None:
        """Exit with code 1, even if Textual fails outside of its message loop."""
        self._return_code = 1
        super().panic(*renderables)

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = super().get_line_filters()
        return [*filters, self._ascii] if self.symbols is Symbols.ASCII else filters

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of another tab do nothing, and are left to whoever else wants them."""
        if action == "perform" and parameters:
            tab = BY_ID[str(parameters[0])].tab
            return tab is None or tab == self.tab
        return True

    async def action_perform(self, action_id: str) -> None:
        """Do an action of the table, or say why it cannot be done now."""
        await self.complete()
        action = BY_ID[action_id]
        if reason := action.refuse(self.situation):
            if action_id == "start":
                self.clear_notifications()
            self.notify(reason, severity="warning")
            return
        tabs = {"runs": self.runs_tab, "presets": self.presets_tab}
        await self.run_action(action_id, default_namespace=tabs.get(action.tab or "", self))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The table again, for the palette; a dialog, which `screen` may be, has no part in it."""
        if screen is not self.screen_stack[0]:
            return
        for action in ACTIONS:
            if action.tab in (None, self.tab) and not action.refuse(self.situation) and action.id != "command_palette":
                yield SystemCommand(
                    f"{action.group}: {action.label}", action.help, lambda chosen=action.id: self._later(chosen)
                )
        yield SystemCommand("Window: Choose a theme", "Pick one of all themes.", self.action_change_theme)

    def action_command_palette(self) -> None:
        from metatui.tui.command_palette import Palette

        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def _later(self, action_id: str) -> None:
        self.call_later(self.action_perform, action_id)

    def update_bars(self) -> None:
        """Bring the key bar up to date."""
        self.screen_stack[0].query_one(KeyBar).situation = self.situation

    def open_tab(self, tab: Tab, pane: Pane | None = None) -> None:
        """Show a tab, with the focus where one works in it: in `pane` of the work tab, or where one was."""
        base = self.screen_stack[0]
        base.query_one(TopBar).tab = tab
        base.query_one(ContentSwitcher).current = tab
        match tab:
            case "work":
                self.work_tab.go_to(pane or self.work_tab.pane)
            case "runs":
                self.runs_tab.opened()
                self.runs_tab.table.focus()
            case "presets":
                self.presets_tab.reload()
                self.presets_tab.table.focus()
        self.update_bars()

    def action_tab_work(self) -> None:
        self.open_tab("work")

    def action_tab_runs(self) -> None:
        self.open_tab("runs")

    def action_tab_presets(self) -> None:
        self.open_tab("presets")

    def action_next_tab(self) -> None:
        self.open_tab(TABS[(TABS.index(self.tab) + 1) % len(TABS)])

    def action_pane(self, pane: Pane) -> None:
        self.work_tab.go_to(pane)

    def action_next_pane(self) -> None:
        self.work_tab.step(1)

    def action_previous_pane(self) -> None:
        self.work_tab.step(-1)

    def action_maximize(self) -> None:
        self.work_tab.maximised = not self.work_tab.maximised

    def action_form(self) -> None:
        tab = self.work_tab
        tab.form_hidden = not tab.form_hidden
        tab.go_to("run" if tab.form_hidden else "settings")

    def action_leave(self) -> None:
        """One step back: from a text field, from a filter, from a maximised pane."""
        if self.tab == "runs" and self.runs_tab.filter.display:
            self.runs_tab.clear_filter()
        elif self.work_tab.maximised:
            self.work_tab.maximised = False
        elif isinstance(self.focused, Input):
            self.work_tab.go_to("run")

    def action_log_scale(self) -> None:
        self.view_changed(self.work_tab.curves.view.other_scale())

    def action_smoothing(self) -> None:
        self.view_changed(self.work_tab.curves.view.next_smoothing())

    def action_against(self) -> None:
        self.view_changed(self.work_tab.curves.view.other_axis())

    def action_metric(self) -> None:
        self.view_changed(self.work_tab.curves.view.other_metric())

    def action_step_back(self) -> None:
        self.work_tab.adaptation.action_step(-1)

    def action_step_on(self) -> None:
        self.work_tab.adaptation.action_step(1)

    def action_previous_tasks(self) -> None:
        self.work_tab.adaptation.action_page(-1)

    def action_next_tasks(self) -> None:
        self.work_tab.adaptation.action_page(1)

    def view_changed(self, view: View) -> None:
        raise NotImplementedError

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Say `message` for a moment. What was said before gives way: one toast at a time hides enough of the screen.
        Names of runs and files are in these messages, so they are never markup."""
        self.clear_notifications()
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=False)

    def action_theme(self) -> None:
        """The next theme; it is remembered."""
        at = CYCLE.index(self.theme) if self.theme in CYCLE else -1
        self.theme = CYCLE[(at + 1) % len(CYCLE)]

    def remember_theme(self, theme: Theme) -> None:
        try:
            save_theme(theme.name)
        except MetatuiError as error:
            self.notify(f"The theme is not remembered: {error}.", severity="warning")
