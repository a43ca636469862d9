"""Artificial data and a small app for tests of charts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from textual.app import App, ComposeResult
from textual.events import MouseScrollDown, MouseScrollUp
from textual.geometry import Offset
from textual.pilot import Pilot
from textual.widget import Widget

from metatui.events import CurveView, ImageView, RegressionView, ScatterView, TaskView
from metatui.tui.colors import palette
from metatui.tui.model.history import History
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.adaptation import RunViews
from metatui.tui.widgets.charts import Series


class Stage(App[None]):
    """App that mounts the given widgets and then calls `then`."""

    CSS = """
    MetricSparkline { margin: 0 1 1 1; }
    LineChart, AdaptationPanel { padding: 0 1; }
    """

    def __init__(
        self,
        *widgets: Widget,
        then: Callable[[], None],
        symbols: Symbols = Symbols.BRAILLE,
        theme: str = "textual-dark",
    ) -> None:
        super().__init__()
        self.symbols = symbols
        self._widgets, self._then = widgets, then
        self.theme = theme

    def compose(self) -> ComposeResult:
        yield from self._widgets

    def on_mount(self) -> None:
        self._then()


async def turn_wheel(pilot: Pilot[None], widget: Widget, by: int, x: int = 0, y: int = 0) -> None:
    """Turn the mouse wheel up (if `by` is negative) or down, at a position relative to the content of a widget."""
    position = widget.content_region.offset + Offset(x, y)
    kind = MouseScrollUp if by < 0 else MouseScrollDown
    widget.post_message(kind(widget, *position, 0, by, 0, False, False, False, *position))
    await pilot.pause()


def wobble(index: int) -> float:
    """Return deterministic noise between -1 and 1."""
    return math.sin(12.9898 * index) * math.cos(78.233 * index)


def falling(steps: int = 3000) -> History:
    history = History()
    for i in range(1, steps + 1):
        history.add(i, i / 12, 3.2 * math.exp(-i / 500) + 0.3 + 0.15 * wobble(i))
    return history


def rising(steps: int = 3000) -> History:
    history = History(largest_is_best=True)
    for i in range(1, steps + 1):
        history.add(i, i / 12, 0.2 + 0.75 * (1 - math.exp(-i / 700)) + 0.02 * wobble(i))
    return history


def curves() -> list[Series]:
    return [
        Series("train", palette.TRAIN, [(point.x, point.mean) for point in falling().points(200)]),
        Series("validation", palette.VALIDATION, [(i, 3 * math.exp(-i / 500) + 0.35) for i in range(100, 3001, 250)]),
    ]


def wave(task: int, skill: float, steps: int = 10) -> RegressionView:
    """Return a view of a sinusoid task. Each inner step multiplies the error of the predictions by `skill`."""
    amplitude, phase = 0.8 + 0.9 * (task % 5), 0.3 + 0.5 * task
    grid = tuple(-5 + i / 10 for i in range(101))
    truth = tuple(amplitude * math.sin(x - phase) for x in grid)
    start = tuple(0.4 * math.sin(x) for x in grid)
    predictions = tuple(
        tuple(y + (s - y) * skill**step for y, s in zip(truth, start, strict=True)) for step in range(steps + 1)
    )
    errors = [sum((p - y) ** 2 for p, y in zip(row, truth, strict=True)) / len(grid) for row in predictions]
    points = tuple(-4.5 + 0.97 * i for i in range(10))
    return RegressionView(
        task=task, title=f"A = {amplitude:.2f}, φ = {phase:.2f}", support_x=points,
        support_y=tuple(amplitude * math.sin(x - phase) for x in points), grid=grid, truth=truth,
        predictions=predictions, loss=tuple(errors),
    )  # fmt: skip


def curve(task: int, skill: float) -> CurveView:
    """Return a view of a task from a table with one input column.

    Each inner step multiplies the error of the predictions by `skill`.
    """
    known = wave(task, skill)
    hours = tuple(100 + x for x in known.grid)

    def grams(values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(500 + 20 * value for value in values)

    return CurveView(
        task=task, title=f"plant {task}", x_label="hours", y_label="yield (g)",
        support_x=hours[3::25], support_y=grams(known.truth[3::25]), query_x=hours[::11],
        query_y=grams(tuple(y + 0.2 * wobble(i) for i, y in enumerate(known.truth[::11]))), grid=hours,
        predictions=tuple(map(grams, known.predictions)), loss=known.loss, loss_name="standardised MSE",
    )  # fmt: skip


def scatter(task: int, skill: float, targets: int = 2, steps: int = 10) -> ScatterView:
    """Return a view of a task from a table with several target columns.

    Each inner step multiplies the error of the predictions by `skill`.
    """
    truth = tuple(tuple(10.0**n * (5 + 3 * wobble(40 * task + 7 * i + n)) for i in range(20)) for n in range(targets))
    predictions = tuple(
        tuple(
            tuple(y + (10.0**n * (5 + 2 * wobble(i + task)) - y) * skill**step for i, y in enumerate(row))
            for n, row in enumerate(truth)
        )
        for step in range(steps + 1)
    )
    return ScatterView(
        task=task, title=f"plant {task}", targets=tuple(["yield (g)", "height (cm)", "leaves"][:targets]), truth=truth,
        predictions=predictions, loss=tuple(skill**step for step in range(steps + 1)), loss_name="standardised MSE",
    )  # fmt: skip


def character(kind: int, jitter: int, size: int = 28) -> bytes:
    """Return the pixels of an artificial character. `kind` selects its shape, and `jitter` moves it sideways."""
    ink = bytearray(size * size)
    for t in range(400):
        angle = t / 400 * 2 * math.pi
        x = size / 2 + (size / 2.8) * math.cos(angle * (1 + kind % 3)) + jitter
        y = size / 2 + (size / 2.8) * math.sin(angle * (1 + kind // 3) + 0.7 * kind)
        for dy in (0, 1):
            column, row = min(size - 1, max(0, int(x))), min(size - 1, max(0, int(y) + dy))
            ink[row * size + column] = 255
    return bytes(ink)


def episode(task: int, ways: int = 5, steps: int = 5) -> ImageView:
    labels = tuple(range(ways))
    queries = tuple(label for label in labels for _ in range(2))
    predictions = tuple(
        tuple(label if (3 * i + task) % (steps + 2) <= step else (label + 1) % ways for i, label in enumerate(queries))
        for step in range(steps + 1)
    )
    rates = tuple(
        sum(p == q for p, q in zip(row, queries, strict=True)) / len(queries) for row in predictions
    )  # fmt: skip
    return ImageView(
        task=task, title="Futurama/character01, Greek/character07", height=28, width=28,
        support=tuple(character(label + task, 0) for label in labels), support_labels=labels,
        query=tuple(character(label + task, 1 + i % 2) for i, label in enumerate(queries)), query_labels=queries,
        predictions=predictions, accuracy=rates, loss=tuple(2 - rate for rate in rates),
    )  # fmt: skip


def several_shots(view: ImageView, shots: int) -> ImageView:
    """Return a copy of `view` that contains each support image `shots` times."""
    labels = tuple(label for label in view.support_labels for _ in range(shots))
    return replace(view, support=tuple(image for image in view.support for _ in range(shots)), support_labels=labels)


def photographs(ways: int = 5, shots: int = 1, side: int = 32) -> ImageView:
    """Return an episode of colour images. Each shows a bright disc on a gradient; the colours depend on the class."""

    def photograph(kind: int, shift: int) -> bytes:
        pixels = bytearray()
        for y in range(side):
            for x in range(side):
                inside = (x - side / 2 - shift) ** 2 + (y - side / 2) ** 2 < (side / 3) ** 2
                angle = 1.7 * kind + (0 if inside else 2)
                light = 90 if inside else 20 + 40 * y / side
                pixels += bytes(round(light + 80 * (1 + math.sin(angle + 2.1 * channel)) / 2) for channel in range(3))
        return bytes(pixels)

    view = episode(0, ways)
    return replace(
        view, title="owl, tulip, lorry, harbour, lynx", height=side, width=side, channels=3,
        support=tuple(photograph(label, shift - 2) for label in range(ways) for shift in range(shots)),
        support_labels=tuple(label for label in range(ways) for _ in range(shots)),
        query=tuple(photograph(label, 3 + index % 2) for index, label in enumerate(view.query_labels)),
    )  # fmt: skip


NAMES = (("MAML", 0.6), ("FOMAML", 0.7), ("Reptile", 0.8))


def regression_runs(count: int, view: Callable[[int, float], TaskView]) -> list[RunViews]:
    return [
        RunViews(name.lower(), name, palette.RUN_HUES[index], tuple(view(task, skill) for task in range(8)))
        for index, (name, skill) in enumerate(NAMES[:count])
    ]


def wave_runs(count: int) -> list[RunViews]:
    return regression_runs(count, wave)


def curve_runs(count: int) -> list[RunViews]:
    return regression_runs(count, curve)


def scatter_runs(count: int) -> list[RunViews]:
    return regression_runs(count, scatter)


def image_runs(count: int, ways: int = 5) -> list[RunViews]:
    return [
        RunViews(
            name.lower(), name, palette.RUN_HUES[index],
            tuple(episode(task, ways, steps=5 + index) for task in range(4)),
        )
        for index, name in enumerate(("MAML", "FOMAML", "Reptile")[:count])
    ]  # fmt: skip
