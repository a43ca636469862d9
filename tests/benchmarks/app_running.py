"""Measure how many bytes the app sends to the terminal during training, and how fast it responds to key presses."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.app_table import Figure
from tests.benchmarks.app_terminal import Watched, new_home, settings

MAX_KIB_PER_SECOND = 25.0
MAX_LATENCY = 0.1
WHOLE_SCREEN = 8 * 1024
"""Minimum number of bytes of output that counts as a redraw of the whole screen."""
GIVEN_UP = 5.0
"""Seconds after which a key press counts as unanswered."""
IDLE_SECONDS = 3.0
"""Maximum number of seconds for which bytes are counted while nothing changes in the app."""
ENDLESS = settings(training__iterations=10_000_000)


@dataclass(frozen=True)
class Press:
    """A key, and a condition that the screen meets once the app has responded to the key."""

    key: str
    answered: Callable[[str], bool]


def shows(words: str) -> Callable[[str], bool]:
    return lambda text: words in text


def hides(words: str) -> Callable[[str], bool]:
    return lambda text: words not in text


ROUND: Sequence[Press] = (
    Press("y", shows("log scale")),
    Press("y", hides("log scale")),
    Press("o", shows("smoothed 0.6")),
    Press("o", shows("smoothed 0.9")),
    Press("o", shows("smoothed 0.97")),
    Press("o", hides("smoothed")),
    Press("t", shows("seconds of training")),
    Press("t", hides("seconds of training")),
    Press("f1", shows("Press / to search")),
    Press("escape", hides("Press / to search")),
    Press("f4", shows("Change settings")),
    Press("escape", hides("Change settings")),
    Press("2", shows("Result")),
    Press("1", shows("Curves")),
    Press("f3", hides("╭─ Journal")),
    Press("f3", shows("╭─ Journal")),
    Press("ctrl+p", shows("An action, a preset")),
    Press("escape", hides("An action, a preset")),
)
"""Key presses that are typical while watching a run. They change the curves, switch tabs, and open and close panels and
dialogs."""


def measure(presets: Sequence[str], *, seconds: float, rounds: int, options: Sequence[str] = ()) -> list[Figure]:
    figures = []
    for preset in presets:
        with new_home() as home:
            figures += _measure(preset, home, seconds, rounds, options)
    return figures


def _measure(preset: str, home: Path, seconds: float, rounds: int, options: Sequence[str]) -> list[Figure]:
    with Watched("--preset", preset, *ENDLESS, *options, home=home) as app:
        app.quiet(1.0)
        idle_from = time.monotonic()
        time.sleep(min(seconds, IDLE_SECONDS))
        idle = app.sent(idle_from, time.monotonic())
        app.press("f5")
        app.wait_for(b"meta-steps/s")
        time.sleep(5.0)  # the whole screen is redrawn during the first seconds
        began, cpu = time.monotonic(), app.cpu_seconds
        time.sleep(seconds)
        ended = time.monotonic()
        rate = app.sent(began, ended) / (ended - began) / 1024
        share = (app.cpu_seconds - cpu) / (ended - began)
        app.wait_for(b"Change settings", since=app.press("f4"))
        time.sleep(1.0)  # the whole screen is drawn when a dialog opens
        covered_from = time.monotonic()
        time.sleep(seconds)
        covered_rate = app.sent(covered_from, time.monotonic()) / (time.monotonic() - covered_from) / 1024
        app.press("escape")
        late = latencies(app, rounds)
        themes = theme_latencies(app, rounds)
        app.press("f6")
        app.wait_for(b"Paused", since=ended)
        app.quiet(2.0)
        paused_from = time.monotonic()
        time.sleep(min(seconds, IDLE_SECONDS))
        idle += app.sent(paused_from, time.monotonic())
        app.press("f7")  # a run continues without the app
        app.wait_for(b"Stopped", since=paused_from)
    return [
        Figure(
            f"to the terminal while training, {preset}", "25 KiB/s", f"{rate:.1f} KiB/s", rate <= MAX_KIB_PER_SECOND
        ),
        Figure(
            f"to the terminal while training below a dialog, {preset}",
            "25 KiB/s",
            f"{covered_rate:.1f} KiB/s",
            covered_rate <= MAX_KIB_PER_SECOND,
        ),
        Figure(f"to the terminal before a run and while paused, {preset}", "0 bytes", f"{idle} bytes", idle == 0),
        _latency(f"key press on the screen while training, 95th percentile, {preset}", [time for _, time in late]),
        _latency(f"change of the theme on the screen while training, 95th percentile, {preset}", themes),
        Figure(f"slowest keys, {preset}", "", slowest(late)),
        Figure(f"CPU time of the app's own process, {preset}", "", f"{100 * share:.1f} % of one"),
    ]


def _latency(name: str, seconds: Sequence[float]) -> Figure:
    times = sorted(seconds)
    slow = times[int(0.95 * (len(times) - 1) + 0.5)]
    others = f"median {1000 * statistics.median(times):.0f}, slowest {1000 * times[-1]:.0f}, {len(times)} presses"
    return Figure(name, "100 ms", f"{1000 * slow:.0f} ms ({others})", slow <= MAX_LATENCY)


def slowest(late: Sequence[tuple[str, float]]) -> str:
    """Return a text that lists the five keys with the largest median latencies."""
    by_key: dict[str, list[float]] = {}
    for key, seconds in late:
        by_key.setdefault(key, []).append(seconds)
    medians = sorted(((statistics.median(times), key) for key, times in by_key.items()), reverse=True)
    return ", ".join(f"{key} {1000 * median:.0f} ms" for median, key in medians[:5])


def latencies(app: Watched, rounds: int) -> list[tuple[str, float]]:
    """Press the keys of ROUND in order, `rounds` times, and measure the seconds until the screen shows each response.

    The pauses between the keys are random, so that the keys arrive at different moments between two refreshes.
    """
    moment = random.Random(0)
    late = []
    for press in [*ROUND] * rounds:
        late.append((press.key, app.answer(press.key, press.answered, GIVEN_UP)))
        time.sleep(moment.uniform(0.3, 0.8))
    return late


def theme_latencies(app: Watched, rounds: int) -> list[float]:
    """Switch to the next theme several times, and measure the seconds until the whole screen is redrawn.

    The pauses between the key presses are random, so that the keys arrive at different moments between two refreshes.
    """
    moment = random.Random(0)
    late = []
    for _ in range(12 * rounds):
        began = app.press("ctrl+t")
        late.append(app.wait_for_bytes(WHOLE_SCREEN, since=began) - began)
        time.sleep(moment.uniform(0.3, 0.8))
    return late
