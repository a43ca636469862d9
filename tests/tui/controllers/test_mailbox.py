"""The way from the training thread to the app: bounded, in order, and with nothing important lost."""

from __future__ import annotations

from metatui.config.settings import Settings
from metatui.events import Finished, Paused, Warned
from metatui.tui.controllers.history import Step
from metatui.tui.controllers.mailbox import MOST_OTHERS, MOST_PROGRESS, Drained, Mailbox
from metatui.tui.controllers.run_model import Monitor
from tests.tui.fakes import progress


def test_events_come_out_in_order_and_once() -> None:
    box = Mailbox()
    events: list[Drained] = [Step(progress(1)), Paused(1), Step(progress(2)), Finished(2, "stopped", 1.0, None)]
    for event in events:
        box.put(event)
    assert box.drain() == events
    assert box.drain() == []


def test_a_frozen_terminal_costs_detail_and_not_memory() -> None:
    box = Mailbox()
    for iteration in range(1, 20 * MOST_PROGRESS):
        box.put(Step(progress(iteration)))
        if iteration % 1000 == 0:
            box.put(Warned(iteration, "still here"))
    kept = box.drain()
    steps = [event.progress.iteration for event in kept if isinstance(event, Step)]
    assert len(steps) <= MOST_PROGRESS
    assert steps[-1] == 20 * MOST_PROGRESS - 1
    assert steps == sorted(steps)
    assert sum(isinstance(event, Warned) for event in kept) == (20 * MOST_PROGRESS - 1) // 1000


def test_the_newest_of_many_other_events_stay() -> None:
    box = Mailbox()
    for iteration in range(10 * MOST_OTHERS):
        box.put(Warned(iteration, "again"))
    kept = box.drain()
    assert len(kept) <= MOST_OTHERS
    assert kept[-1] == Warned(10 * MOST_OTHERS - 1, "again")


def test_a_thinned_history_still_tells_the_speed() -> None:
    monitor = Monitor(Settings())
    for iteration in range(1, 1000, 7):
        monitor.take(progress(iteration))
    assert monitor.speeds is not None
    assert abs(monitor.speeds[0] - 10) < 0.01
