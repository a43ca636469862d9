"""Tests of the helper process: replies, requests that newer ones replace, errors and crashes."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from functools import partial

import pytest

from metatui.tui.helper import Helper, Reply, Returned, WorkerError, Yielded
from metatui.utils.errors import BadInput


def counting(to: int) -> Generator[int, None, str]:
    yield from range(to)
    return "counted"


def endless() -> Generator[str, None, None]:
    while True:
        yield "still at it"


def refusing() -> Generator[None, None, None]:
    raise BadInput("count is 3, but must be 4")
    yield


def failing() -> Generator[int, None, None]:
    yield 1
    raise ZeroDivisionError


def printing() -> Generator[None, None, int]:
    os.write(1, b"a library says something")
    print("and so does this")
    return 7
    yield


def dying(how: int) -> Generator[None, None, None]:
    os.kill(os.getpid(), how)
    yield


def replies_until(replies: Iterator[Reply], kind: type[Returned] | type[WorkerError]) -> list[Reply]:
    """Return the replies up to and including the first one of type `kind`."""
    seen: list[Reply] = []
    for reply in replies:
        seen.append(reply)
        if isinstance(reply, kind):
            return seen
    return seen


def test_yielded_and_returned_values_are_sent() -> None:
    helper = Helper()
    assert helper.ask(partial(counting, 3)) == 1
    replies = helper.replies()
    assert replies_until(replies, Returned) == [*(Yielded(1, n) for n in range(3)), Returned(1, "counted")]
    assert helper.ask(printing) == 2
    assert replies_until(replies, Returned) == [Returned(2, 7)], "printed text is not a reply"
    helper.stop()
    assert list(replies) == []


def test_new_request_replaces_the_current_one() -> None:
    helper = Helper()
    helper.ask(endless)
    replies = helper.replies()
    assert next(replies) == Yielded(1, "still at it")
    helper.ask(partial(counting, 1))
    seen = replies_until(replies, Returned)
    assert seen[-2:] == [Yielded(2, 0), Returned(2, "counted")]
    helper.stop()
    assert list(replies) == []


def test_helper_survives_errors() -> None:
    helper = Helper()
    replies = helper.replies()
    helper.ask(refusing)
    assert next(replies) == WorkerError(1, "count is 3, but must be 4")
    helper.ask(failing)
    broken = replies_until(replies, WorkerError)[-1]
    assert isinstance(broken, WorkerError)
    assert broken.sentence.startswith("an internal error in metatui (ZeroDivisionError)")
    assert "ZeroDivisionError" in broken.traceback
    assert not broken.dead
    helper.ask(partial(counting, 0))
    assert next(replies) == Returned(3, "counted")
    helper.stop()
    assert list(replies) == []


@pytest.mark.parametrize(
    ("how", "reason"),
    [(signal.SIGKILL, "most likely because memory ran out"), (signal.SIGTERM, "was terminated by signal 15")],
)
def test_death_is_reported(how: int, reason: str) -> None:
    helper = Helper()
    helper.ask(partial(dying, how))
    (broken,) = helper.replies()
    assert isinstance(broken, WorkerError)
    assert broken.dead
    assert reason in broken.sentence
    assert helper.ask(endless) == 2, "requests to a dead helper are not errors"


def test_stop_during_a_request() -> None:
    helper = Helper()
    helper.ask(endless)
    replies = helper.replies()
    next(replies)
    helper.stop()
    assert all(isinstance(reply, Yielded) for reply in replies)
    assert helper._child.wait() == -signal.SIGKILL
