"""Sends random keys, text, clicks and resizes to the app through Textual's pilot."""

from __future__ import annotations

from collections import Counter
from random import Random

from textual import events
from textual.pilot import Pilot

from metatui.tui.app import MetatuiApp
from metatui.tui.keyboard.actions import ACTIONS
from metatui.tui.screens.dialogs.help import HelpScreen

SCREENS = frozenset({"help", "command_palette", "live", "save_preset", "explain", "suites"})
"""Actions that open a screen. They are performed more often than others, so that screens cover each other."""
HEAVY = frozenset({"explore", "parameters", "benchmark", "compare_runs", "mark_run"})
"""Actions that start a long computation. They are performed less often than others."""

KEYS = [key for action in ACTIONS if action.id not in HEAVY for key in action.keys.split(",")]
SCREEN_KEYS = [key for action in ACTIONS if action.id in SCREENS for key in action.keys.split(",")]
HEAVY_KEYS = [key for action in ACTIONS if action.id in HEAVY for key in action.keys.split(",")]
COMMON = (
    "tab", "shift+tab", "enter", "escape", "up", "down", "left", "right", "home", "end", "pageup", "pagedown",
    "backspace", "delete", "space", "ctrl+a", "ctrl+e", "ctrl+u", "ctrl+w", "ctrl+c", "ctrl+v", "ctrl+x", "y", "n", "k",
    "s", "c", "insert", "ctrl+home", "ctrl+end", "shift+left", "shift+end", "f24", "ctrl+at", "question_mark",
)  # fmt: skip
TEXTS = (
    "0", "1", "-1", "0.01", "1e400", "nan", "12345678901234567890", "[bold]x[/]", "../../x", "\x1b[2J", "a\0b",
    "\u202ex", "漢字", "/tmp", "maml", "x" * 200, "1, 2, 3", "",
)  # fmt: skip
SIZES = ((1, 1), (10, 3), (2, 50), (300, 2), (40, 10), (80, 24), (80, 24), (120, 40), (200, 60))


class Monkey:
    """Performs random actions in the app. `done` counts the actions of each kind."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.done: Counter[str] = Counter()

    async def act(self, app: MetatuiApp, pilot: Pilot[None], actions: int) -> int:
        """Perform `actions` random actions, or fewer if the app ends, and return the number performed."""
        for number in range(actions):
            if not app.is_running or app._exit:
                return number
            await self._perform_action(app, pilot)
        return actions

    async def _perform_action(self, app: MetatuiApp, pilot: Pilot[None]) -> None:
        rng = self._rng
        kind = rng.choices(("key", "heavy", "screen", "common", "text", "paste", "click", "wheel", "resize"),
                           (30, 1, 8, 30, 4, 2, 20, 4, 6))[0]  # fmt: skip
        self.done[kind] += 1
        width, height = app.size
        spot = rng.randrange(max(1, width)), rng.randrange(max(1, height))
        match kind:
            case "key":
                await pilot.press(rng.choice(KEYS))
            case "heavy":
                await pilot.press(rng.choice(HEAVY_KEYS))
            case "screen":
                await pilot.press(rng.choice(SCREEN_KEYS))
            case "common":
                await pilot.press(rng.choice(COMMON))
            case "text":
                app.post_message(events.Paste(rng.choice(TEXTS)))
                await pilot.press(*rng.choice(("quick", "0.5", "m4ml")))
            case "paste":
                app.post_message(events.Paste(rng.choice(TEXTS) * rng.choice((1, 50, 20_000))))
                await pilot.pause()
            case "click" if width and height:
                await pilot.click(offset=spot, times=rng.choice((1, 1, 2)), button=rng.choice((1, 1, 1, 3)))
            case "wheel":
                wheel = rng.choice((events.MouseScrollDown, events.MouseScrollUp))
                app.post_message(wheel(None, *spot, 0, 0, 0, False, False, False, *spot))
                await pilot.pause()
            case "resize":
                await pilot.resize_terminal(*rng.choice(SIZES))


async def still_answers(app: MetatuiApp, pilot: Pilot[None]) -> bool:
    """Close all dialogs, then return whether F1 opens the help and Escape closes it."""
    await pilot.resize_terminal(80, 24)
    for _ in range(20):
        if len(app.screen_stack) == 1:
            break
        await pilot.press("escape")
    await pilot.press("f1")
    await pilot.pause()
    opened = isinstance(app.screen, HelpScreen)
    await pilot.press("escape")
    await pilot.pause()
    return opened and len(app.screen_stack) == 1
