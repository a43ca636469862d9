"""Tests of reading events from the entries of a journal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from metatui.config.settings import Settings
from metatui.events import Event, Finished, Noted, Tweaked, Warned
from metatui.runs.storage.journal import Entry
from metatui.tui.model.replay import event_of

RATE = "algorithm.inner_lr"


@pytest.mark.parametrize(
    ("name", "details", "event"),
    [
        ("tweaked", {"path": RATE, "old": 0.01, "new": 0.05}, Tweaked(7, RATE, 0.01, 0.05)),
        (
            "tweaked",
            {"path": "gone.setting", "old": 0.01, "new": 0.05},
            Noted(7, "gone.setting changed from 0.01 to 0.05"),
        ),
        (
            "undone",
            {"path": RATE, "old": 0.01, "new": 0.05, "at": 9},
            Noted(7, "Inner learning rate: the change to 0.05 after meta-step 9 was undone"),
        ),
        ("finished", {"reason": "early_stop", "seconds": 3.5}, Finished(7, "early_stop", 0.0, None)),
        ("stopped", {"reason": "stopped", "seconds": 3.5}, Finished(7, "stopped", 0.0, None)),
        ("interrupted", {"reason": "SIGTERM", "seconds": 3.5}, Finished(7, "interrupted", 0.0, None)),
        ("interrupted", {}, Warned(7, "Interrupted")),
    ],
    ids=["known", "unknown", "undone", "early_stop", "stopped", "interrupted", "killed"],
)
def test_changes_and_the_end_are_read_from_the_journal(name: str, details: dict[str, Any], event: Event) -> None:
    assert event_of(Entry(datetime.now(UTC), name, 7, details), Settings()) == event
