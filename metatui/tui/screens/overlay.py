"""Base class of screens that cover only part of the screen below and open fast."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from rich.segment import Segment
from textual.events import Resize
from textual.geometry import Region
from textual.reactive import Reactive
from textual.renderables.background_screen import BackgroundScreen
from textual.screen import ModalScreen, ScreenResultType
from textual.strip import Strip
from textual.widget import Widget


class Overlay(ModalScreen[ScreenResultType]):
    """A screen with widgets that cover only part of the screen below. Links on the screen below are disabled."""

    # Widgets that gain or lose focus redraw themselves; Textual would redraw the whole screen.
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)
    _below: Sequence[Strip] | None = None
    """Lines of the screen below, or None if they may have changed."""
    _has_size = False

    def update_node_styles(self, animate: bool = True) -> None:
        # The widgets were styled when they were mounted. Textual would style all of them again when the screen opens,
        # and when the terminal gains or loses the focus. No rule depends on these.
        pass

    def on_screen_resume(self) -> None:
        self._below = None

    def on_resize(self, event: Resize) -> None:
        self._below = None
        # The first event follows the first layout; Textual would repeat the layouts of this and of all screens below.
        if not self._has_size:
            self._has_size = True
            event.prevent_default()

    def refresh(
        self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False
    ) -> Overlay[ScreenResultType]:
        if regions:  # Textual refreshes the regions in which the screen below has changed
            self._below = None
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def render_lines(self, crop: Region) -> list[Strip]:
        """Copy the lines of the screen below. This is faster than letting Textual style them again."""
        width, height = self.size
        if self._below is None:
            below = self.render()
            if not isinstance(below, BackgroundScreen):
                return super().render_lines(crop)
            options = self.app.console_options.update(width=width, height=height)
            segments = self.app.console.render(below, options)
            lines = Segment.split_and_crop_lines(segments, width, include_new_lines=False)
            self._below = [Strip(line, width) for line in islice(lines, height)]
        lines_in_crop = list(self._below[crop.y : crop.bottom])
        lines_in_crop += [Strip.blank(width)] * (crop.height - len(lines_in_crop))
        return [line.crop(crop.x, crop.right) for line in lines_in_crop]
