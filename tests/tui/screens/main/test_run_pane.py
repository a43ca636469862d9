"""Tests of the rows of facts about a run."""

from __future__ import annotations

from metatui.config.settings import Settings
from metatui.tui.actions import Phase
from metatui.tui.model.run_model import RunModel
from metatui.tui.screens.main.run_pane import Fact, RunNumbers, packed, table
from metatui.tui.system_monitor import Load
from tests.tui.fakes import started
from tests.tui.widgets.test_charts import text, theme


def test_numbers_stay_with_their_units() -> None:
    fact = Fact("process", "4211, 310 MiB, CPU 13 %")
    assert [row[11:] for row in text(table([fact], 11 + 21, theme()))] == ["4211, 310 MiB, CPU", "13 %"]
    assert text(packed([fact], 28, theme())) == ["process 4211, 310 MiB, CPU", "13 %"]


def test_reason_for_the_engine_is_left_out_if_it_does_not_fit() -> None:
    model = RunModel(Settings())
    model.take(started(model.settings))
    numbers = RunNumbers()
    numbers.show(model, Phase.IDLE, Load())
    rows = text(numbers.rows(20, 40, theme()))
    assert [row[11:] for row in rows[-4:]] == ["batched", "(all", "tasks at", "once)"]
    assert text(numbers.rows(20, len(rows) - 1, theme()))[-1] == "engine     batched"
    assert model.journal[0].text == "Started on cpu, engine batched (all tasks at once)"
