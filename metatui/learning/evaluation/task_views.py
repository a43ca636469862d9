"""Views of held-out tasks for charts: the support set, and the predictions at each inner step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metatui.events import CurveView, ImageView, RegressionView, ScatterView, TaskView
from metatui.learning.data.episodes import Episodes, Split, TaskSource
from metatui.learning.data.image_source import ImageSource
from metatui.learning.data.sinusoid import SinusoidSource
from metatui.learning.data.table.source import TableSource
from metatui.learning.data.wave_ranges import X
from metatui.learning.evaluation.evaluate import predictions
from metatui.learning.experiment import Experiment
from metatui.learning.hardware.devices import to_device
from metatui.learning.hardware.memory import free_unused_memory, is_out_of_memory
from metatui.learning.optim.inner import Params
from metatui.learning.optim.losses import accuracy

GRID = 101
"""Number of points per curve."""

MAX_POINTS = 100
"""Maximum number of query points in a curve view, and of predicted values for each inner step in a scatter view."""

MAX_TARGETS = 4
"""Maximum number of targets in a view."""

MAX_IMAGE_SIZE = {1: 64, 3: 32}
"""Maximum height and width in pixels of an image in a view, for each number of channels. A terminal shows fewer pixels.
Colour images are smaller, so that their three channels take no more space on disk than one grey channel."""

MIN_CHANNEL_DIFFERENCE = 0.05
"""An image counts as coloured if the channels of at least one pixel differ by this much or more. In scans and JPEG
files of grey pictures, the channels differ by less."""

QUERIES_PER_CLASS = 2
"""Maximum number of query images per class in the image views that a run folder stores."""


def task_views(
    experiment: Experiment,
    theta: Params,
    *,
    split: Split,
    tasks: Sequence[int],
    steps: int,
    shots: int,
    queries: int = QUERIES_PER_CLASS,
) -> tuple[TaskView, ...]:
    """Adapt to the held-out tasks numbered `tasks` and record the predictions at inner steps 0 to `steps`.

    If the tasks do not fit in memory together, they are computed in parts.

    Args:
        queries: maximum number of query images per class in an image view.
    """
    try:
        if isinstance(experiment.source, SinusoidSource):
            return _wave_views(experiment, experiment.source, theta, split, tasks, steps, shots)
        if experiment.source.kind == "classification":
            return _image_views(experiment, theta, split, tasks, steps, shots, queries)
        is_curve = experiment.source.input_shape == (1,) and experiment.source.targets == 1
        draw = _curve_views if is_curve else _scatter_views
        return draw(experiment, theta, split, tasks, steps, shots)
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or len(tasks) == 1:
            raise
    free_unused_memory(experiment.torch_device)  # outside the except block: the exception keeps tensors alive
    half = len(tasks) // 2
    return tuple(
        view
        for part in (tasks[:half], tasks[half:])
        for view in task_views(experiment, theta, split=split, tasks=part, steps=steps, shots=shots, queries=queries)
    )


def _titles(experiment: Experiment, split: Split, tasks: Sequence[int]) -> list[str]:
    seed, ways = experiment.settings.evaluation.seed, experiment.settings.task.ways
    return [experiment.source.describe(split, task, seed=seed, ways=ways) for task in tasks]


def _wave_views(
    experiment: Experiment,
    source: SinusoidSource,
    theta: Params,
    split: Split,
    tasks: Sequence[int],
    steps: int,
    shots: int,
) -> tuple[TaskView, ...]:
    seed = experiment.settings.evaluation.seed
    episodes = experiment.episodes(split, tasks, seed=seed, shots=shots)
    amplitude, phase = source.wave(split, tasks, seed=seed)
    grid = torch.linspace(*X, GRID, dtype=torch.float64)
    truth = amplitude * torch.sin(grid - phase)
    points = to_device(grid, experiment.torch_device, experiment.dtype).view(1, GRID, 1).expand(len(tasks), GRID, 1)
    curves, losses = [], []
    for stack, outputs in predictions(experiment, theta, episodes, steps):
        curves.append(experiment.engine.predictions(experiment.algorithm, stack, episodes, points).squeeze(-1))
        losses.append(experiment.loss.each(outputs, episodes.query_y))
    return tuple(
        RegressionView(
            task=task,
            title=title,
            support_x=_floats(episodes.support_x[t]),
            support_y=_floats(episodes.support_y[t]),
            grid=_floats(grid),
            truth=_floats(truth[t]),
            predictions=tuple(_floats(curve[t]) for curve in curves),
            loss=tuple(float(loss[t]) for loss in losses),
        )
        for t, (task, title) in enumerate(zip(tasks, _titles(experiment, split, tasks), strict=True))
    )


@dataclass(frozen=True)
class _Units:
    """Names of inputs and targets, and conversions to their original units in float64 on the CPU."""

    inputs: Sequence[str]
    targets: Sequence[str]
    x: Callable[[Tensor], Tensor]
    y: Callable[[Tensor], Tensor]
    loss_name: str


def _units(source: TaskSource, episodes: Episodes) -> _Units:
    if isinstance(source, TableSource):
        names = source.table.inputs, source.table.targets
        return _Units(*names, source.inputs_in_units, source.targets_in_units, "standardised MSE")
    inputs, targets = episodes.query_x.shape[-1], episodes.query_y.shape[-1]
    x_names, y_names = [f"input {n + 1}" for n in range(inputs)], [f"target {n + 1}" for n in range(targets)]
    return _Units(x_names, y_names, _on_cpu, _on_cpu, "MSE")


def _curve_views(
    experiment: Experiment, theta: Params, split: Split, tasks: Sequence[int], steps: int, shots: int
) -> tuple[TaskView, ...]:
    episodes = experiment.episodes(split, tasks, seed=experiment.settings.evaluation.seed, shots=shots)
    units = _units(experiment.source, episodes)
    known = torch.cat([episodes.support_x, episodes.query_x], 1)
    low, high = known.amin(1, keepdim=True), known.amax(1, keepdim=True)
    grid = low + (high - low) * torch.linspace(0, 1, GRID, dtype=low.dtype, device=low.device).view(1, GRID, 1)
    curves, losses = [], []
    for stack, outputs in predictions(experiment, theta, episodes, steps):
        curves.append(units.y(experiment.engine.predictions(experiment.algorithm, stack, episodes, grid)))
        losses.append(experiment.loss.each(outputs, episodes.query_y))
    return tuple(
        CurveView(
            task=task,
            title=title,
            x_label=units.inputs[0],
            y_label=units.targets[0],
            support_x=_floats(units.x(episodes.support_x[t])),
            support_y=_floats(units.y(episodes.support_y[t])),
            query_x=_floats(units.x(episodes.query_x[t, :MAX_POINTS])),
            query_y=_floats(units.y(episodes.query_y[t, :MAX_POINTS])),
            grid=_floats(units.x(grid[t])),
            predictions=tuple(_floats(curve[t]) for curve in curves),
            loss=tuple(float(loss[t]) for loss in losses),
            loss_name=units.loss_name,
        )
        for t, (task, title) in enumerate(zip(tasks, _titles(experiment, split, tasks), strict=True))
    )


def _scatter_views(
    experiment: Experiment, theta: Params, split: Split, tasks: Sequence[int], steps: int, shots: int
) -> tuple[TaskView, ...]:
    episodes = experiment.episodes(split, tasks, seed=experiment.settings.evaluation.seed, shots=shots)
    units = _units(experiment.source, episodes)
    shown = min(len(units.targets), MAX_TARGETS)

    def rows(values: Tensor) -> tuple[tuple[float, ...], ...]:
        """Return, for each target in the view, its value in each of the first few rows of `values` [Q, targets]."""
        return tuple(_floats(column) for column in units.y(values)[: MAX_POINTS // shown, :shown].T)

    predicted, losses = [], []
    for _, outputs in predictions(experiment, theta, episodes, steps):
        predicted.append([rows(values) for values in outputs])
        losses.append(experiment.loss.each(outputs, episodes.query_y))
    return tuple(
        ScatterView(
            task=task,
            title=title,
            targets=tuple(units.targets),
            truth=rows(episodes.query_y[t]),
            predictions=tuple(step[t] for step in predicted),
            loss=tuple(float(loss[t]) for loss in losses),
            loss_name=units.loss_name,
        )
        for t, (task, title) in enumerate(zip(tasks, _titles(experiment, split, tasks), strict=True))
    )


def _image_views(
    experiment: Experiment, theta: Params, split: Split, tasks: Sequence[int], steps: int, shots: int, most: int
) -> tuple[TaskView, ...]:
    settings = experiment.settings
    episodes = experiment.episodes(split, tasks, seed=settings.evaluation.seed, shots=shots)
    # Query images are ordered by class.
    queries = settings.task.queries
    rows = [n * queries + q for n in range(settings.task.ways) for q in range(min(queries, most))]
    channels = [3 if _is_coloured(images) else 1 for images in episodes.support_x]
    views = [
        ImageView(
            task=task,
            title=title,
            height=min(episodes.query_x.shape[-2], MAX_IMAGE_SIZE[channels[t]]),
            width=min(episodes.query_x.shape[-1], MAX_IMAGE_SIZE[channels[t]]),
            support=_pictures(episodes.support_x[t], channels[t]),
            support_labels=tuple(episodes.support_y[t].tolist()),
            query=_pictures(episodes.query_x[t, rows], channels[t]),
            query_labels=tuple(episodes.query_y[t, rows].tolist()),
            predictions=(),
            accuracy=(),
            loss=(),
            channels=channels[t],
            classes=_class_names(experiment, split, task),
        )
        for t, (task, title) in enumerate(zip(tasks, _titles(experiment, split, tasks), strict=True))
    ]
    for _, outputs in predictions(experiment, theta, episodes, steps):
        hits, losses = accuracy(outputs, episodes.query_y), experiment.loss.each(outputs, episodes.query_y)
        for t, view in enumerate(views):
            views[t] = replace(
                view,
                predictions=(*view.predictions, tuple(outputs[t, rows].argmax(-1).tolist())),
                accuracy=(*view.accuracy, float(hits[t])),
                loss=(*view.loss, float(losses[t])),
            )
    return tuple(views)


def _class_names(experiment: Experiment, split: Split, task: int) -> tuple[str, ...]:
    """Return the names of a task's classes, in the order of labels, or () if the source does not name them."""
    settings, source = experiment.settings, experiment.source
    if not isinstance(source, ImageSource):
        return ()
    numbers = source.classes(split, [task], seed=settings.evaluation.seed, ways=settings.task.ways)[0]
    return tuple(source.class_name(split, number) for number in numbers.tolist())


def _on_cpu(values: Tensor) -> Tensor:
    return values.cpu().double()


def _floats(values: Tensor) -> tuple[float, ...]:
    return tuple(values.flatten().tolist())


def _is_coloured(images: Tensor) -> bool:
    """Return whether images [B, C, H, W] have three channels that differ by `MIN_CHANNEL_DIFFERENCE` or more."""
    return images.shape[1] == 3 and float((images.amax(1) - images.amin(1)).max()) >= MIN_CHANNEL_DIFFERENCE


def _pictures(images: Tensor, channels: int) -> tuple[bytes, ...]:
    """Shrink images [B, C, H, W] with values from 0 to 1, and convert each image to bytes, with the channels last."""
    height, width = (min(side, MAX_IMAGE_SIZE[channels]) for side in images.shape[-2:])
    shown = images if channels == 3 else images.mean(dim=1, keepdim=True)
    small = torch.nn.functional.adaptive_avg_pool2d(shown, (height, width)).movedim(1, -1)
    values = (small.clamp(0, 1) * 255).round().to("cpu", torch.uint8)
    return tuple(bytes(image.flatten().tolist()) for image in values)
