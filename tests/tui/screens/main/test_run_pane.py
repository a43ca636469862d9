"""Tests of the facts about a run that the run pane shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Checkpointed, Evaluating, Failed, Finished, Paused, Resumed, Tweaked, Warned
from metatui.tui.keyboard.actions import Phase
from metatui.tui.model.run_model import RunModel
from metatui.tui.model.system_monitor import Load
from metatui.tui.screens.main.run_pane import Fact, RunNumbers, facts_of, packed, table
from tests.tui.fakes import progress, started_event
from tests.tui.widgets.test_charts import text, theme


def test_numbers_stay_with_their_units() -> None:
    fact = Fact("process", "4211, 310 MiB, CPU 13 %")
    assert [row[11:] for row in text(table([fact], 11 + 21, theme()))] == ["4211, 310 MiB, CPU", "13 %"]
    assert text(packed([fact], 28, theme())) == ["process 4211, 310 MiB, CPU", "13 %"]
    assert text(packed([Fact("test", "600 tasks; α = 0.01")], 22, theme())) == ["test 600 tasks;", "α = 0.01"]


def test_facts_without_room_are_omitted() -> None:
    facts = [Fact("test", "1.22 ± 0.16"), Fact("last val", "a long result"), Fact("time", "3:25")]
    assert text(packed(facts, 36, theme(), 1)) == ["test 1.22 ± 0.16   time 3:25"]
    assert text(packed(facts, 36, theme(), 2)) == ["test 1.22 ± 0.16", "last val a long result   time 3:25"]
    assert text(packed([Fact("test", "one two")], 8, theme(), 1)) == []


def test_progress_of_a_run_without_training() -> None:
    numbers = RunNumbers()
    for algorithm, first in (("maml", "0 of 5,000, 0 %"), ("scratch", "no training")):
        numbers.show(RunModel(change(Settings(), {"algorithm.name": algorithm})), Phase.IDLE, Load())
        assert text(numbers.rows(40, 40, theme()))[0].endswith(first)


def test_failure_that_does_not_fit_ends_with_an_ellipsis() -> None:
    model = RunModel(Settings())
    model.add_event(Failed(0, "task.ways is 5, but must be at most 3"))
    numbers = RunNumbers()
    numbers.show(model, Phase.IDLE, Load())
    assert text(numbers.rows(15, 3, theme()))[:3] == ["task.ways is 5,", "but must be at", "most 3"]
    assert text(numbers.rows(15, 2, theme()))[:2] == ["task.ways is 5,", "but must be at…"]


def test_reason_for_the_engine_is_left_out_if_it_does_not_fit() -> None:
    model = RunModel(Settings())
    model.add_event(started_event(model.settings))
    numbers = RunNumbers()
    numbers.show(model, Phase.IDLE, Load())
    rows = text(numbers.rows(20, 40, theme()))
    assert [row[11:] for row in rows[-4:]] == ["batched", "(all", "tasks at", "once)"]
    assert text(numbers.rows(20, len(rows) - 1, theme()))[-1] == "engine     batched"
    assert model.journal[0].text == "Started on cpu, engine batched (all tasks at once)"


def test_engine_is_batched_until_meta_steps_are_compiled() -> None:
    def engine() -> Fact:
        return facts_of(model, Load(), Phase.RUNNING)[-1]

    reason = "after 5,000 meta-steps; batched measured 2.38 ms per meta-step"
    model = RunModel(Settings())
    model.add_event(replace(started_event(model.settings), engine="compiled", engine_reason=reason))
    early = Fact(
        "engine", "batched, compiled after meta-step 5,000", detail=" (batched measured 2.38 ms per meta-step)"
    )
    model.add_event(progress(241))
    assert engine() == early
    model.add_event(progress(5000))
    assert engine() == Fact("engine", "compiled", detail=f" ({reason})")
    model.add_event(Tweaked(5100, "algorithm.inner_steps", 1, 3))
    assert engine() == early._replace(text="batched, compiled after meta-step 10,100")
    model.add_event(Tweaked(5200, "algorithm.inner_lr", 0.01, 0.02))
    model.add_event(progress(10_100))
    assert engine().text == "compiled"


def test_time_left_of_the_final_test(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("metatui.runs.evaluation_clock.time.monotonic", lambda: now)
    model = RunModel(Settings())
    total = model.settings.training.iterations

    def facts() -> dict[str, str]:
        return {fact.label: fact.text for fact in facts_of(model, Load(), Phase.RUNNING)}

    model.add_event(progress(total - 10))
    model.add_event(progress(total - 9))
    assert facts()["time"].endswith("0:00 left")
    for iteration in range(total - 8, total + 1):
        model.add_event(progress(iteration))
    model.add_event(Evaluating(total, "test", 0, 600))
    assert facts()["evaluating"] == "0 of 600 test tasks"
    assert "left" not in facts()["time"]
    now += 20
    model.add_event(Evaluating(total, "test", 200, 600))
    assert facts()["evaluating"] == "200 of 600 test tasks, 0:40 left"


def test_sentences_in_the_journal_begin_with_a_capital() -> None:
    model = RunModel(Settings())
    for warning in ("metrics.jsonl cannot be written", "the interval is wide", "metatui cannot follow the run"):
        model.add_event(Warned(5, warning))
    model.add_event(Failed(5, "the run ended after meta-step 5"))
    assert [line.text for line in model.journal] == [
        "metrics.jsonl cannot be written",
        "The interval is wide",
        "metatui cannot follow the run",
        "The run ended after meta-step 5",
    ]
    assert isinstance(model.ended, Failed)
    assert model.ended.sentence == "The run ended after meta-step 5"


def test_run_that_waits_for_the_disk_says_so() -> None:
    def waits() -> list[Fact]:
        return [fact for fact in facts_of(model, Load(), Phase.PAUSED) if fact.label == "paused"]

    model = RunModel(Settings())
    text = "metrics.jsonl cannot be written: No space left on device; training is waiting"
    model.add_event(Warned(5, text))
    model.add_event(Paused(5))
    assert waits() == [Fact("paused", text, warning=True)]
    model.add_event(Resumed(5))
    model.add_event(Checkpointed(6, "last"))
    model.add_event(Paused(6))
    assert not waits()


def test_only_the_newest_checkpoint_has_a_line_in_the_journal() -> None:
    model = RunModel(Settings())
    for event in (Checkpointed(5, "last"), Checkpointed(6, "best"), Checkpointed(7, "last"), Paused(7)):
        model.add_event(event)
    model.add_event(Checkpointed(8, "last"))
    assert [(line.iteration, line.text) for line in model.journal] == [
        (7, "Checkpoint saved"), (7, "Paused"), (8, "Checkpoint saved"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "text", "tone"),
    [
        ("iterations", "Finished", "good"),
        ("early_stop", "Finished early: the validation result has not improved for a long time", "good"),
        ("stopped", "Stopped and saved", "good"),
        ("interrupted", "Interrupted and saved", "warning"),
    ],
)
def test_end_of_a_run_in_the_journal(reason: str, text: str, tone: str) -> None:
    model = RunModel(Settings())
    model.add_event(Finished(7, reason, 1.0, None))
    (line,) = model.journal
    assert (line.iteration, line.text, line.tone) == (7, text, tone)
