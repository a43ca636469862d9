"""Tests of the compositor in the app."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.widgets._toast import Toast

from metatui.tui.app import MetatuiApp


async def test_a_notification_is_erased_after_a_hidden_widget_has_changed(
    make: Callable[..., MetatuiApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        app.notify("Stopped and saved")
        await pilot.pause()
        toast = app.screen.query_one(Toast)
        x, y, width, _ = toast.region
        app.work_tab.curves.chart.refresh()  # hidden, because there is no run
        await pilot.pause()
        updates: list[object] = []
        monkeypatch.setattr(MetatuiApp, "_display", lambda self, screen, update: updates.append(update))
        toast._expire()
        await pilot.pause()
        spans = [span for update in updates if isinstance(update, ChopsUpdate) for span in update.spans]
        assert any(row == y and start <= x and end >= x + width for row, start, end in spans)


async def test_the_whole_screen_is_drawn_twice_at_the_start(
    make: Callable[..., MetatuiApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that the whole screen is drawn at most twice: at first, and when the widgets know their sizes."""
    updates: list[object] = []
    monkeypatch.setattr(MetatuiApp, "_display", lambda self, screen, update: updates.append(update))
    width, height = 120, 40
    async with make().run_test(size=(width, height)) as pilot:
        await pilot.pause()
        drawn = 0
        for update in updates:
            if isinstance(update, LayoutUpdate):
                drawn += width * height
            elif isinstance(update, ChopsUpdate):
                drawn += sum(end - start for _, start, end in update.spans)
        assert drawn <= 2 * width * height
