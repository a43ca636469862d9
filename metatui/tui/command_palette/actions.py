"""Provider of commands that perform actions of the app or, if a screen is open above the tabs, of that screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from textual.command import Hits

from metatui.tui.command_palette.provider import NOT_NOW, Command, CommandProvider, discovery
from metatui.tui.keyboard.actions import ACTIONS, BY_ID, Action, AppContext, key_name, key_names

if TYPE_CHECKING:
    from metatui.tui.app import MetatuiApp


class ActionCommands(CommandProvider):
    """Provides a command for every action. The second line explains the action, or why it is not possible now."""

    rank = 1.0

    async def commands(self) -> Sequence[Command]:
        if self.screen is not self.app.screen_stack[0]:
            return list(self._commands_of_screen())
        context = self.metatui.context
        refusals = {action: refusal_line(action, context) for action in ACTIONS if action.id != "command_palette"}
        return [
            *(
                self._command(action, refusals[action], context)
                for action in sorted(refusals, key=lambda a: bool(refusals[a]))
            ),
            Command("Window: Choose a theme", self.app.action_change_theme, "Choose from all themes."),
        ]

    async def discover(self) -> Hits:
        for command in await self.commands():
            yield discovery(command)

    def _command(self, action: Action, refused: str, context: AppContext) -> Command:
        return Command(
            f"{action.group}: {action.label}",
            partial(self.app.call_later, perform, self.metatui, action),
            refused or action.help,
            key_names(action.keys),
            action.help,
            refused=bool(refused) and action.tab in (None, context.tab),
        )

    def _commands_of_screen(self) -> Iterator[Command]:
        """Yield a command for each key binding of the screen that is open above the main screen."""
        keys: dict[tuple[str, str, str], list[str]] = {}
        for key, (node, binding, enabled, _) in self.screen.active_bindings.items():
            if node is self.screen and enabled and binding.show:
                keys.setdefault((binding.description, binding.action, binding.tooltip), []).append(key)
        for (name, action, help_text), own in keys.items():
            run = partial(self.app.call_later, self.app.run_action, action, self.screen)
            yield Command(name, run, help_text, key=key_names(",".join(own)))


def refusal_line(action: Action, context: AppContext) -> str:
    """Return the second line of a command if its action is not possible in the current tab or state.

    This line names the tab in which the action works, or the reason why it is not possible now. The result is an empty
    string if the action is possible.
    """
    if action.tab not in (None, context.tab):
        return f"In the {action.tab} tab ({key_name(BY_ID[f'tab_{action.tab}'].key)}): {action.help}"
    reason = action.refusal_reason(context)
    return f"{NOT_NOW}{reason}" if reason else ""


async def perform(app: MetatuiApp, action: Action) -> None:
    """Open the tab of an action and perform it. If it needs a selected row, only open the tab and show its key."""
    if action.tab not in (None, app.tab):
        await app.create_tabs()
        app.open_tab(action.tab)
        if action.refusal_reason(AppContext(tab=action.tab)):
            app.notify(f"{key_names(action.keys)} in this tab: {action.help}")
            return
    await app.action_perform(action.id)
