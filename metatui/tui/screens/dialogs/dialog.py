"""What all dialogs are: a box over the screen, which stays as it is behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from textual._context import visible_screen_stack
from textual.css.styles import RulesMap
from textual.geometry import Region
from textual.screen import ModalScreen, Screen, ScreenResultType
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions, Visual

if TYPE_CHECKING:
    SomeScreen = Screen[Any]
else:
    SomeScreen = object  # style sheets follow the first base that is a widget


class OverScreen(SomeScreen):
    """Textual dims what is behind: the whole screen is sent, and again when the dialog closes, and mixing the colours
    of all its cells with each frame takes longer than to draw the dialog."""

    _behind: Backdrop | None = None

    # Textual's screens promise less than any widget may give.
    def render(self) -> Backdrop:  # type: ignore[override]
        stack = self.app.screen_stack
        below = stack[stack.index(self) - 1]
        if self._behind is None or self._behind.screen is not below or self._behind.size != self.app.size:
            self._behind = Backdrop(below)
        return self._behind

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        if regions:  # which is how Textual says that something behind has changed
            self._behind = None
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)


class Dialog(OverScreen, ModalScreen[ScreenResultType]):
    """A question or a text."""


class Backdrop(Visual):
    """A screen that another is in front of; nothing in it can be clicked."""

    def __init__(self, screen: Screen[object]) -> None:
        self.screen, self.size = screen, screen.app.size
        self._strips: list[Strip] | None = None

    def render_strips(self, width: int, height: int | None, style: Style, options: RenderOptions) -> list[Strip]:
        if self._strips is None:
            # Textual has no other way to a screen that is not the first one. One that is transparent takes the last of
            # these for what is behind it, which may be in front of it where dialogs lie over dialogs: without end.
            stack = self.screen.app.screen_stack
            below = stack[: stack.index(self.screen)] if self.screen in stack else []
            before = visible_screen_stack.set(below)
            try:
                self._strips = [strip.discard_meta() for strip in self.screen._compositor.render_strips(self.size)]
            finally:
                visible_screen_stack.reset(before)
        return self._strips[:height]

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:
        return self.size.width

    def get_height(self, rules: RulesMap, width: int) -> int:
        return self.size.height
