"""Tests of the journal pane: it follows the newest line, unless the user has scrolled back."""

from __future__ import annotations

from metatui.tui.model.run_model import JournalLine
from metatui.tui.screens.main.journal import EMPTY, JournalPane
from tests.tui.drawing import Stage, turn_wheel


async def test_newest_line_is_visible_until_the_user_scrolls_back() -> None:
    pane = JournalPane()
    lines = [JournalLine(step, f"line {step}") for step in range(1, 31)]

    def shown() -> list[str]:
        return [pane.render_line(y).text[:-1].strip() for y in range(pane.size.height)]

    def numbered(first: int, last: int) -> list[str]:
        return [f"{step}  line {step}" for step in range(first, last + 1)]

    async with Stage(pane, then=lambda: pane.show([])).run_test(size=(90, 10)) as pilot:
        assert shown()[0] == EMPTY
        pane.focus()
        pane.show(lines[:20])
        assert shown() == numbered(11, 20)
        pane.show(lines[:21])
        assert shown() == numbered(12, 21)
        await pilot.press("up", "up")
        assert shown() == numbered(10, 19)
        pane.show(lines)
        assert shown() == numbered(10, 19), "new lines do not move the text that the user reads"
        await pilot.press("home")
        assert shown() == numbered(1, 10)
        await turn_wheel(pilot, pane, 1)
        assert shown() == numbered(4, 13)
        await turn_wheel(pilot, pane, -1)
        assert shown() == numbered(1, 10)
        await pilot.press("end")
        pane.show([*lines, JournalLine(31, "line 31")])
        assert shown() == numbered(22, 31), "the newest line is followed again"
