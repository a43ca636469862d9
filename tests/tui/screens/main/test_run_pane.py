"""Test of the rows of facts about a run."""

from __future__ import annotations

from metatui.tui.screens.main.run_pane import Fact, packed, table
from tests.tui.widgets.test_charts import text, theme


def test_numbers_stay_with_their_units() -> None:
    fact = Fact("process", "4211, 310 MiB, CPU 13 %")
    assert [row[11:] for row in text(table([fact], 11 + 21, theme()))] == ["4211, 310 MiB, CPU", "13 %"]
    assert text(packed([fact], 28, theme())) == ["process 4211, 310 MiB, CPU", "13 %"]
