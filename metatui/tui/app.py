"""The app with its tabs, bars and themes. Controllers carry out the actions started with keys, mouse and palette."""

from __future__ import annotations

import asyncio
import inspect
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.actions import SkipAction
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.filter import LineFilter
from textual.geometry import Size
from textual.notifications import SeverityLevel
from textual.reactive import Reactive
from textual.screen import Screen
from textual.signal import Signal
from textual.theme import Theme
from textual.widget import Widget
from textual.widgets import Button, ContentSwitcher, Input
from textual.widgets._toast import ToastHolder

from metatui.config.schedule import Planned
from metatui.config.settings import Settings
from metatui.tui.colors.contrast import ReadableFilter
from metatui.tui.colors.stylesheet import ThemeStylesheet
from metatui.tui.colors.themes import CYCLE, AsciiFilter
from metatui.tui.controllers.analysis import AnalysisController
from metatui.tui.controllers.background import BackgroundController
from metatui.tui.controllers.garbage import GarbageController
from metatui.tui.controllers.hints import HintsController
from metatui.tui.controllers.presets import PresetsController
from metatui.tui.controllers.run import RunController
from metatui.tui.controllers.runs import RunsController
from metatui.tui.controllers.sessions import Sessions
from metatui.tui.keyboard.actions import ACTIONS, BY_ID, TABS, Action, AppContext, Tab, key_names
from metatui.tui.preferences import Preferences, save
from metatui.tui.screens.main.header_footer import ContextChanged, KeyBar, TopBar
from metatui.tui.screens.main.layout import Pane
from metatui.tui.screens.main.work import PreferencesChanged, WorkTab
from metatui.tui.terminal import compositor
from metatui.tui.terminal.key_order import OrderedKeys
from metatui.tui.terminal.keyboard import Keyboard, TerminalLost
from metatui.tui.terminal.kitty import KittyPictures
from metatui.tui.terminal.sixel import Reply, SixelPictures, SixelTerminal
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.terminal.symbols import ascii as ascii_text
from metatui.tui.widgets.adaptation import AdaptationPanel
from metatui.tui.widgets.charts import LineChart
from metatui.tui.widgets.form.fields import explained
from metatui.tui.widgets.form.form import SettingsForm
from metatui.utils.errors import MetatuiError

# Imported in the functions that use them, because the first frame does not need them.
if TYPE_CHECKING:
    from rich.console import RenderableType

    from metatui.tui.screens.main.tabs.presets_tab import PresetsTab
    from metatui.tui.screens.main.tabs.runs_tab import RunsTab
    from metatui.tui.tour.steps import TourInput

FINISH_START_AFTER = 0.5
"""Seconds from the first frame to the creation of the runs and presets tabs, unless they are needed earlier."""


class MainScreen(Screen[None]):
    """The screen below all others. The app sets its focus, because Textual's automatic focus delays the first frame."""

    AUTO_FOCUS = ""
    # Widgets that gain or lose focus redraw themselves; Textual would redraw the whole screen.
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)

    def watch_focused(self, focused: Widget | None) -> None:
        for bar in self.query_children(KeyBar):
            bar.typing = isinstance(focused, Input)

    def update_node_styles(self, animate: bool = True) -> None:
        # Textual would restyle all widgets at the start, when a dialog closes, and when the terminal gains or loses the
        # focus. No rule depends on these events, and restyling takes as long as drawing the screen.
        pass

    def _screen_resized(self, size: Size) -> None:
        if size != self._compositor.size:  # Textual sends the size of the terminal several times at the start
            super()._screen_resized(size)

    def _refresh_layout(self, size: Size | None = None, scroll: bool = False) -> None:
        # Textual would draw what the layout has changed, and then the whole screen.
        if self._repaint_required:
            self._repaint_required = False
            self._dirty_widgets.add(self)
        super()._refresh_layout(size, scroll)

    def _compositor_refresh(self) -> None:
        if self.is_active:
            super()._compositor_refresh()
        elif changed := self._compositor._dirty_regions:
            # Below a dialog, Textual would draw everything again that has changed since the dialog opened.
            self.app.screen.refresh(*changed)
            changed.clear()
            self._dirty_widgets.clear()


class MetatuiApp(OrderedKeys, inherit_bindings=False):
    """Shows the tabs, and passes each action to the tab or controller that implements it."""

    TITLE = "metatui"
    NOTIFICATION_TIMEOUT = 4
    CSS_PATH = Path("metatui.tcss")
    ENABLE_COMMAND_PALETTE = False  # Textual would bind a fixed key, but the user may change it
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(
                action.default_keys,
                f"perform('{action.id}')",
                action.label,
                tooltip=action.help,
                show=False,
                id=action.id,
                priority=action.everywhere,
            )
            for action in ACTIONS
            if action.tab in (None, "work")
        ),
        # Handled before the focused widget, so that text typed immediately after tab goes to the next field.
        Binding("tab", "focus_next", show=False, priority=True),
        Binding("shift+tab", "focus_previous", show=False, priority=True),
        Binding("ctrl+c", "interrupt", show=False, system=True, priority=True),
        Binding("q", "help_quit", show=False, system=True),
    ]

    def __init__(
        self,
        settings: Settings,
        *,
        runs_dir: Path,
        sessions: Sessions,
        symbols: Symbols,
        theme: str,
        preferences: Preferences,
        pictures: bool = False,
        preset: str | None = None,
        base: Settings | None = None,
        changes: Sequence[Planned] = (),
        start: bool = False,
        tour: bool = False,
        warning: str = "",
        keymap: Mapping[str, str] | None = None,
    ) -> None:
        """Create the app. See `launch.make_app` for the arguments."""
        compositor.use_in_all_screens()
        super().__init__(driver_class=Keyboard)
        self.stylesheet: ThemeStylesheet = ThemeStylesheet(variables=self.theme_variables)
        self.symbols = symbols
        """Name of the glyph set with which charts are drawn."""
        self.pictures: KittyPictures | SixelPictures | None = KittyPictures(self._write) if pictures else None
        """Object that draws pictures, or None if the terminal cannot show them or has not yet replied that it can."""
        self._sixel_terminal = SixelTerminal(self._write, self._cell_size)
        self.runs_dir = runs_dir
        self.opening_settings = settings
        self.preferences = preferences
        self.warning = warning
        """Warning to show when the app starts, or an empty string if there is none."""
        self.run_controller = RunController(self, sessions)
        self.background = BackgroundController(self, sessions)
        self.runs = RunsController(self, sessions)
        self.presets = PresetsController(self, preset, base or settings, changes)
        self.analysis = AnalysisController(self)
        self.hints = HintsController(self)
        self.garbage = GarbageController(self)
        self.happened: Signal[TourInput] = Signal(self, "happened")
        """Signal that tells the tour what the user has done and what has happened in the run."""
        self._start_at_once, self._tour = start, tour
        self._ascii, self._readable = AsciiFilter(), ReadableFilter()
        self._creating_tabs = asyncio.Lock()
        self.set_keymap(keymap or {})
        self.animation_level = "none"
        self.theme = theme

    def compose(self) -> ComposeResult:
        yield TopBar(id="top-bar")
        with ContentSwitcher(initial="work", id="tabs"):
            yield WorkTab(self.opening_settings, self.symbols, self.preferences)
        yield KeyBar(id="key-bar")

    def _write(self, text: str) -> None:
        if self._driver:
            self._driver.write(text)

    def _cell_size(self) -> tuple[int, int] | None:
        return self._driver.cell_size() if isinstance(self._driver, Keyboard) else None

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        if isinstance(self.pictures, SixelPictures):
            renderable = self.pictures.add_pictures(renderable, self.size.height)
        super()._display(screen, renderable)

    @on(Reply)
    def _terminal_replied(self, reply: Reply) -> None:
        pictures = self._sixel_terminal.receive(reply.text)
        if pictures and pictures != self.pictures:
            self.pictures = pictures
            for screen in self.screen_stack:
                for panel in screen.query(AdaptationPanel):
                    panel.refresh()

    def on_resize(self) -> None:
        self._sixel_terminal.resized()

    def get_default_screen(self) -> MainScreen:
        return MainScreen(id="_default")

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, self._save_theme)
        self.app_resume_signal.subscribe(self, self._draw_again)
        self.background.handle_signals()
        if self.warning:
            self.notify(self.warning, severity="warning")
        self.form.focus_first()
        self.work_tab.status.show_form(self.presets.form_state(self.form.assessment))
        self.run_controller.start_timers()
        self.runs.start_timers()
        self.call_after_refresh(self._first_frame_drawn)

    def _draw_again(self, _: object) -> None:
        """Redraw everything after a suspension, because the terminal has lost the text and the pictures."""
        if isinstance(self.pictures, KittyPictures):
            self.pictures.send_again()
        self.refresh(layout=True)

    async def _first_frame_drawn(self) -> None:
        self.set_timer(FINISH_START_AFTER, self.finish_start)
        if self.pictures is None and not self.no_color and self.symbols is not Symbols.ASCII:
            self._sixel_terminal.ask()
        if self._start_at_once:
            await self.action_perform("start")

    async def finish_start(self) -> None:
        """Do the work that was postponed until after the first frame, unless the user quits in the meantime."""
        for work in (
            self._finish_work_tab,
            self.create_tabs,
            self._prepare_dialogs,
            self._prepare_theme,
            self._welcome,
        ):
            if not self.is_ending:
                await work()
        self.garbage.start()  # objects created until now live as long as the app

    @property
    def is_ending(self) -> bool:
        """Whether the app has been asked to exit. If so, Textual refuses to mount widgets."""
        return not (self.screen_stack and self.screen_stack[0].is_attached)

    async def _finish_work_tab(self) -> None:
        await self.work_tab.finish_start()

    async def _welcome(self) -> None:
        """Announce runs that are training in the background, and start or offer the tour."""
        self.background.attach_or_announce(silent=bool(self.warning))
        if self._tour:
            await self.action_tour()
        elif not (self.preferences.tour_offered or self.background.to_attach or self._start_at_once):
            await self._offer_tour()

    async def _offer_tour(self) -> None:
        from metatui.tui.tour import card, steps

        if self.presets.origin_of(self.opening_settings) == steps.PRESET:  # the offer describes this preset
            await card.offer(self)

    async def action_tour(self) -> None:
        from metatui.tui.tour import card

        await card.start(self)

    async def create_tabs(self) -> None:
        """Create the tabs that the first frame does not need, unless they exist already."""
        async with self._creating_tabs:
            tabs = self.screen_stack[0].query_one(ContentSwitcher)
            if len(tabs.children) == len(TABS):
                return
            from metatui.runs.storage.store import RunStore
            from metatui.tui.screens.main.tabs.presets_tab import PresetsTab
            from metatui.tui.screens.main.tabs.runs_tab import RunsTab

            runs, presets = RunsTab(RunStore(self.runs_dir), self.runs.colours), PresetsTab()
            runs.display = presets.display = False
            await tabs.mount(runs, presets)

    async def _prepare_dialogs(self) -> None:
        """Import the palette and parse the style sheets of dialogs, so that the first dialog opens without delay."""
        from textual.command import CommandInput, CommandList, SearchIcon
        from textual.widgets import LoadingIndicator

        from metatui.tui.command_palette.screen import Palette
        from metatui.tui.screens.dialogs import live_settings  # noqa: F401 - imported for later
        from metatui.tui.screens.dialogs.dialog import Dialog

        dialog: Dialog[None] = Dialog()
        palette = Palette(over_tabs=True), CommandInput(), CommandList(), SearchIcon(), LoadingIndicator()
        for widget in (dialog, Button(), *palette):
            widget._post_register(self)  # adds the style sheet, as when Textual mounts the widget
        self.stylesheet.parse()

    async def _prepare_theme(self) -> None:
        """Prepare the style sheet for the theme that the theme key selects next."""
        theme = self.available_themes[self._next_theme]
        self.stylesheet.prepare(theme.to_color_system().generate() | theme.variables)

    def update_styles(self, node: DOMNode, animate: bool = True) -> None:
        """Restyle a node and its descendants. Skip a node that is not mounted yet, because Textual styles it later."""
        if node.is_attached:
            super().update_styles(node, animate=animate)

    def on_unmount(self) -> None:
        self.background.close()

    @property
    def top_bar(self) -> TopBar:
        return self.screen_stack[0].query_one(TopBar)

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
        return self.top_bar.tab

    @property
    def context(self) -> AppContext:
        """State of the app that determines which actions are possible now."""
        tab = self.tab
        run = self.runs_tab.selected if tab == "runs" else None
        preset = self.presets_tab.selected if tab == "presets" else None
        client, shown = self.run_controller.client, self.run_controller.shown
        marked = len(self.runs_tab.marked) if tab == "runs" else 0
        return AppContext(
            phase=client.phase,
            pausing=client.pausing,
            tab=tab,
            row=run is not None or preset is not None,
            live_row=run is not None and run.status in ("running", "paused"),
            unfinished_row=run is not None and run.status in ("interrupted", "failed", "stopped"),
            own_preset=preset is not None and not preset.bundled,
            missing_data=preset is not None and self.presets.can_fetch(preset),
            undoable=client.undoable is not None,
            restorable=self.form.restorable,
            hinted=self.hints.is_possible,
            failed=shown is not None and shown.status == "Failed",
            resumable=tab == "work" and not client.phase.active and self.runs.resumable is not None,
            other_user=shown.other_user if tab == "work" and shown and not client.phase.active else "",
            classification=self.run_controller.shows_classification,
            curves=self.work_tab.curves.chart.has_values,
            group=self.work_tab.group,
            cursor=tab == "work" and self.work_tab.curves.chart.has_cursor,
            marked=marked,
            studied=len(self.analysis.chosen_runs),
        )

    @on(ContextChanged)
    @on(LineChart.CursorChanged)
    @on(SettingsForm.Changed)
    def update_bars(self) -> None:
        """Update the key bar."""
        self.screen_stack[0].query_one(KeyBar).context = context = self.context
        self.happened.publish(context)

    @on(SettingsForm.LiveChange)
    def _live_setting_changed(self, event: SettingsForm.LiveChange) -> None:
        self.run_controller.client.change(event.path, event.value)

    @on(PreferencesChanged)
    def _preferences_changed(self, event: PreferencesChanged) -> None:
        self.remember(**event.changes)

    @on(SettingsForm.Changed)
    def _form_changed(self, event: SettingsForm.Changed) -> None:
        self.work_tab.status.show_form(self.presets.form_state(event.assessment))

    @on(TerminalLost)
    def _terminal_lost(self) -> None:
        self.background.hang_up(128 + signal.SIGHUP)

    def panic(self, *renderables: RenderableType) -> None:
        """Show an error and exit with code 1, even if the error occurred outside Textual's message loop."""
        self._return_code = 1
        super().panic(*renderables)

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = [*super().get_line_filters(), self._readable]
        return [*filters, self._ascii] if self.symbols is Symbols.ASCII else filters

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable the actions of tabs that are not shown, so that widgets can use the keys of these actions."""
        if action == "perform" and parameters:
            tab = BY_ID[str(parameters[0])].tab
            return tab is None or tab == self.tab
        return True

    async def action_perform(self, action_id: str) -> None:
        """Perform an action, or show why it is not possible now."""
        if self.is_ending:  # for example if a key is pressed right after the key that quits
            return
        await self.create_tabs()
        action = BY_ID[action_id]
        if reason := action.refusal_reason(self.context):
            self.notify(reason, severity="warning")
            return
        result = self.method_of(action)()
        if inspect.isawaitable(result):
            await result
        self.happened.publish(action.id)

    def method_of(self, action: Action) -> Callable[[], object]:
        """Return the method that implements an action: `action_<id>` of the work tab, of a controller or of the app."""
        controllers = (self.run_controller, self.background, self.runs, self.presets, self.analysis, self.hints)
        owners: tuple[object, ...] = (self.work_tab, *controllers, self)
        name = f"action_{action.id}"
        method: Callable[[], object] = next(getattr(owner, name) for owner in owners if hasattr(owner, name))
        return method

    def action_command_palette(self) -> None:
        from metatui.tui.command_palette.screen import Palette

        if not any(isinstance(screen, Palette) for screen in self.screen_stack):
            self.push_screen(Palette(over_tabs=len(self.screen_stack) == 1))
        elif not isinstance(self.screen, Palette):
            self.notify("The palette is already open below this screen. Close this screen first (esc).")

    async def action_help(self) -> None:
        """Open the help, starting with the sections about the focused widget. If the help is already open, close it."""
        from metatui.tui.help.sections import changed_in_form, sections_about
        from metatui.tui.screens.dialogs.help import HelpScreen

        if isinstance(self.screen, HelpScreen):
            self.screen.dismiss()
        else:
            opening = list(sections_about(self.focused or self.screen, self.context))
            if len(self.screen_stack) == 1 and self.tab == "work":
                opening[1:1] = changed_in_form(*self.presets.changes_in_form())
            self.push_screen(HelpScreen(opening, self.context))

    async def open_field(self, path: str) -> None:
        """Show and focus the field of a setting. A focused field explains its setting."""
        self.open_tab("work", "settings")
        field = await self.form.reveal(path)
        if field.control.disabled:
            field.scroll_visible()
            self.notify(explained(field.setting))
        else:
            self.call_after_refresh(field.control.focus)

    def action_interrupt(self) -> None:
        """Show which keys quit the app. If text is selected, do nothing, so that ctrl+C copies the selected text."""
        if (isinstance(self.focused, Input) and self.focused.selected_text) or self.screen.get_selected_text():
            raise SkipAction
        self.action_help_quit()

    def action_help_quit(self) -> None:
        """Show which keys quit the app, for users who press ctrl+C or q."""
        self.notify(f"Press {key_names(BY_ID['quit'].keys)} to quit.")

    def open_tab(self, tab: Tab, pane: Pane | None = None) -> None:
        """Show a tab and focus its list. In the work tab, focus `pane` (default: the current pane)."""
        self.top_bar.tab = tab
        self.screen_stack[0].query_one(ContentSwitcher).current = tab
        match tab:
            case "work":
                self.work_tab.go_to(pane or self.work_tab.pane)
            case "runs":
                self.runs_tab.reload_on_open()
                self.runs_tab.focus_list()
            case "presets":
                self.presets_tab.reload()
                self.presets_tab.focus_list()
        self.update_bars()

    def action_tab_work(self) -> None:
        self.open_tab("work")

    def action_tab_runs(self) -> None:
        self.open_tab("runs")

    def action_tab_presets(self) -> None:
        self.open_tab("presets")

    def action_next_tab(self) -> None:
        self.open_tab(TABS[(TABS.index(self.tab) + 1) % len(TABS)])

    def action_leave(self) -> None:
        """Go back: leave a preview, a text field, a maximised pane or the tour, or hide a filter, a hint or a run."""
        from metatui.tui.tour.card import TourWidget

        if self._leave_place():
            return
        if tour := self.screen_stack[0].query("#tour"):
            tour.first(TourWidget).leave()
        elif self.tab == "work" and self.hints.current:
            self.hints.hide()
        elif self.tab == "work":
            self.runs.close_shown()

    def _leave_place(self) -> bool:
        """Leave a preview, filter, maximised pane or text field. Return whether there was anything to leave."""
        if self.tab != "work":
            return (self.runs_tab if self.tab == "runs" else self.presets_tab).leave()
        if self.work_tab.maximised:
            self.work_tab.maximised = False
        elif isinstance(self.focused, Input):
            self.work_tab.go_to("run")
        else:
            return False
        return True

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show a message instead of the current one. Markup is off, because names in messages may contain brackets."""
        if self.symbols is Symbols.ASCII:  # done before the layout, because it changes the length of the text
            message, title = ascii_text(message), ascii_text(title)
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=False)

    def on_notify(self) -> None:
        self.clear_notifications()  # now, because `notify` may have been called twice before the first message arrived

    def clear_notifications(self) -> None:
        super().clear_notifications()
        for screen in self.screen_stack:
            for holder in screen.query(ToastHolder):  # Textual would remove only what the holders contain
                holder.remove()

    def notify_error(self, error: MetatuiError) -> None:
        self.notify(f"{error}.", severity="error")

    def action_pane(self, pane: Pane) -> None:
        self.work_tab.go_to(pane)

    def action_theme(self) -> None:
        """Change to the next theme and save the choice."""
        self.theme = self._next_theme

    @property
    def _next_theme(self) -> str:
        index = CYCLE.index(self.theme) if self.theme in CYCLE else -1
        return CYCLE[(index + 1) % len(CYCLE)]

    def _save_theme(self, theme: Theme) -> None:
        self.call_after_refresh(self._remember_theme, theme.name)

    async def _remember_theme(self, name: str) -> None:
        self.remember(theme=name)
        await self._prepare_theme()

    def remember(self, **changes: object) -> None:
        """Change preferences and save them."""
        self.preferences = self.preferences.model_copy(update=changes)
        try:
            kept = save(self.preferences)
        except MetatuiError as error:
            self.notify(f"The preferences could not be saved: {error}.", severity="warning")
        else:
            if kept:
                self.notify(f"The preferences are saved. The old file, which was ignored, was renamed to {kept.name}.")
