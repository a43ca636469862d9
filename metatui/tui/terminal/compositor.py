"""Compositor that erases removed widgets, such as notifications, in every case."""

from __future__ import annotations

from textual import screen
from textual._compositor import Compositor, CompositorMap, ReflowResult
from textual.geometry import Size
from textual.widget import Widget


class CompleteCompositor(Compositor):
    """Textual's compositor, except that a layout redraws everything that has changed since the last layout.

    Textual compares a layout with its newest map of the widgets. It also makes a new map when it looks up the position
    of a widget after a hidden widget has changed. If a widget was removed just before this look-up, the new map does
    not contain the removed widget, so the text of this widget would stay on the screen.
    """

    _last: CompositorMap | None = None
    """The map of the last layout."""

    def reflow(self, parent: Widget, size: Size) -> ReflowResult:
        if self._last is not None:
            self._full_map = self._last
        result = super().reflow(parent, size)
        self._last = self._full_map
        return result


def use_in_all_screens() -> None:
    screen.Compositor = CompleteCompositor  # type: ignore[attr-defined]
