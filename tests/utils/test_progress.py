"""Tests of listeners to reports."""

from __future__ import annotations

import pytest

from metatui.utils.progress import Reports


def test_listeners_are_called_in_order_until_they_end() -> None:
    reports = Reports[[str, int]]("reports")
    told: list[tuple[str, str, int]] = []

    def fail() -> None:
        with reports.listener(lambda text, number: told.append(("second", text, number))):
            reports.report("a", 1)
            raise ZeroDivisionError

    with reports.listener(lambda text, number: told.append(("first", text, number))):
        with pytest.raises(ZeroDivisionError):
            fail()
        reports.report("b", 2)
    reports.report("c", 3)
    assert told == [("first", "a", 1), ("second", "a", 1), ("first", "b", 2)]
