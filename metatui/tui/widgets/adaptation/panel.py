"""Panel that shows how models adapt: several held-out tasks of one run, or up to three runs on the same tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.reactive import reactive

from metatui.events import CurveView, ImageView, RegressionView, ScatterView, TaskView
from metatui.tui.colors import palette
from metatui.tui.keyboard.actions import BY_ID, key_name
from metatui.tui.widgets.adaptation import images
from metatui.tui.widgets.adaptation.photograph import MIN_IMAGE_HEIGHT
from metatui.tui.widgets.adaptation.views import (
    RunViews,
    captions,
    curve_chart,
    curve_limits,
    has_diverged,
    outcome,
    quantities,
    scatter_chart,
    task_series,
    tasks_of,
)
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.header import joined, legend_entry, line_marker
from metatui.tui.widgets.charts.plot import paint
from metatui.tui.widgets.charts.row_widget import (
    Row,
    RowsWidget,
    beside,
    block,
    centred,
    padded,
    spread,
    truncate,
    truncate_words,
    width_of,
)

MAX_PANEL_RUNS: Final = 3
GAP: Final = 3
"""Number of blank columns between the drawings of tasks, and between the charts of several targets."""
CHART: Final = 28
"""Smallest useful width of a regression chart."""


@dataclass(frozen=True)
class Grid:
    """Numbers of columns and rows of charts that fit in the panel. Columns show runs or tasks, and rows show tasks."""

    across: int
    down: int
    tasks: int
    """Number of tasks per page."""


class AdaptationPanel(RowsWidget, can_focus=True):
    """Shows the adaptation to held-out tasks at any inner step.

    The first row shows the keys that change the inner step and the tasks. These keys can also be clicked. Another key
    shows more support images if they do not all fit.
    """

    DEFAULT_CSS = "AdaptationPanel { min-height: 6; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_square_bracket", "step(-1)", "Previous step", show=False, id="step_back"),
        Binding("right_square_bracket", "step(1)", "Next step", show=False, id="step_on"),
        Binding("comma", "page(-1)", "Previous tasks", show=False, id="previous_tasks"),
        Binding("full_stop", "page(1)", "Next tasks", show=False, id="next_tasks"),
        Binding("k", "shots", "Next shots", show=False, id="next_shots"),
    ]

    step: reactive[int | None] = reactive(None, repaint=False)
    """The inner step shown as "after" adaptation, or None to show the last one."""
    first_task: reactive[int] = reactive(0, repaint=False)
    """Index of the first visible task."""
    first_shot: reactive[int] = reactive(0, repaint=False)
    """Index of the first visible support image of each class. It is above 0 only if the images do not all fit."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._runs: tuple[RunViews, ...] = ()
        self._empty = ""
        self._shots = (0, 0)
        """Number of support images per class, and number of visible support images per class."""

    def show_views(self, runs: Sequence[RunViews], *, empty: str) -> None:
        """Show the tasks of one run side by side, or each of two or three runs in its own column.

        Args:
            empty: Hint shown while there are no tasks.
        """
        visible = tuple(run for run in runs if run.views)[:MAX_PANEL_RUNS]
        if (visible, empty) == (self._runs, self._empty):
            return
        self._runs, self._empty = visible, empty
        self.first_task = min(self.first_task, max(0, len(tasks_of(self._runs)) - 1))
        self.redraw()

    @property
    def last_step(self) -> int:
        return max((run.last_step for run in self._runs), default=0)

    @property
    def shown_step(self) -> int:
        return self.last_step if self.step is None else min(self.step, self.last_step)

    @property
    def shown_task(self) -> int:
        """The task number of the first visible task."""
        return tasks_of(self._runs)[self.first_task] if self._runs else 0

    def key_of(self, action: str) -> str:
        """Return the displayed name of an action's key. `action` is an id in `ACTIONS`."""
        return key_name(BY_ID[action].key)

    def action_step(self, by: int) -> None:
        """Change the inner step.

        If the last step is selected, later evaluations also show their last step, whatever its number is.
        """
        step = max(0, self.shown_step + by)
        self.step = None if step >= self.last_step else step

    def action_page(self, by: int) -> None:
        """Show the previous or next tasks."""
        size = self._grid(*self.content_size).tasks
        last = len(tasks_of(self._runs)) - 1
        target = self.first_task + by * size
        if target <= last:
            self.first_task = max(0, target)

    def action_shots(self) -> None:
        """Show the next support images of each class, or the first ones if the last ones are visible."""
        shots, shown = self._shots
        self.first_shot = self.first_shot + shown if 0 < shown < shots - self.first_shot else 0

    def watch_first_shot(self) -> None:
        self.redraw()

    def watch_step(self) -> None:
        self.redraw()

    def watch_first_task(self) -> None:
        self.redraw()

    def _smallest(self) -> tuple[int, int]:
        """Return the smallest useful width and height of a task with its caption."""
        view = self._runs[0].views[0]
        if isinstance(view, RegressionView | CurveView):
            return CHART, 12
        if isinstance(view, ScatterView):
            return (len(view.truth) if len(self._runs) == 1 else 1) * (CHART + GAP) - GAP, 12
        ways = len(images.classes_of(view))
        across = -(-images.shots_of(view) // 4)
        if len(self._runs) > 1:
            return ways * across * (2 * MIN_IMAGE_HEIGHT + 1) - 1, 20
        return ways * across * (2 * (MIN_IMAGE_HEIGHT + 1) + 1) + images.LEAD + images.CHART + 2, 16

    def _grid(self, width: int, height: int) -> Grid:
        if not self._runs:
            return Grid(1, 1, 1)
        tasks = len(tasks_of(self._runs))
        least_width, least_height = self._smallest()
        fit = max(1, (width + GAP) // (least_width + GAP))
        several = len(self._runs) > 1
        body = height - 1 - several
        across = min(fit, len(self._runs) if several else tasks)
        down = max(1, min(body // least_height, tasks if several else -(-tasks // across)))
        return Grid(across, down, down if several else across * down)

    def rows(self, width: int, height: int, theme: ChartTheme) -> list[Row]:
        if not self._runs:
            return centred(theme.printable(self._empty), width, height, theme.muted)
        grid = self._grid(width, height)
        tasks = tasks_of(self._runs)
        shown = tasks[self.first_task : self.first_task + grid.tasks]
        several = len(self._runs) > 1
        cell_width = (width - GAP * (grid.across - 1)) // grid.across
        headings = [self._headings(grid.across, cell_width, width, theme)] if several else []
        cell_height = max(1, (height - 1 - len(headings)) // grid.down)
        body: list[Row] = []
        for row in range(grid.down):
            if several:
                pairs = [(run, task) for run in self._runs[: grid.across] for task in shown[row : row + 1]]
            else:
                pairs = [(self._runs[0], task) for task in shown[row * grid.across : (row + 1) * grid.across]]
            cells = [self._cell(run, task, cell_width, cell_height, theme) for run, task in pairs]
            body += beside(cells, GAP) if cells else []
        return [self._header(width, tasks, shown, theme), *headings, *body]

    def _headings(self, count: int, cell: int, width: int, theme: ChartTheme) -> Row:
        """Return a row with the name of each visible run above its column, and the number of hidden runs at the end."""
        hidden = len(self._runs) - count
        more = [Segment(f"{hidden} run{'s' if hidden > 1 else ''} not shown", theme.title)] if hidden else []
        row: Row = []
        for index, run in enumerate(self._runs[:count]):
            sample = line_marker(2, theme) if theme.distinct else theme.glyphs.sample
            room = cell - width_of(more) - GAP if hidden and index == count - 1 else cell
            name = truncate(f"{sample} {theme.printable(run.label)}", room, theme.glyphs.ellipsis)
            heading = padded([Segment(name, theme.colour(run.colour, bold=True))], room)
            row += ([Segment(" " * GAP)] if index else []) + heading
        return spread(row, more, width) if hidden else row

    def _header(self, width: int, tasks: Sequence[int], shown: Sequence[int], theme: ChartTheme) -> Row:
        """Lay out the header: the legend on the left, and the inner step and the visible tasks on the right.

        Parts that do not fit are shortened.
        """
        legend, remarks = self._legend(theme)
        marks = joined(legend, width, theme)
        full, short = (self._places(tasks, shown, brief, theme) for brief in (False, True))
        places = full if width_of([*marks, *full]) + 2 <= width else short
        room = width - width_of(places) - 2
        if remark := next((remark for remark in remarks if width_of([*marks, remark]) + 2 <= room), None):
            marks = [*marks, Segment("  "), remark]
        return spread(marks if width_of(marks) <= room else joined(legend, room, theme), places, width)

    def _places(self, tasks: Sequence[int], shown: Sequence[int], brief: bool, theme: ChartTheme) -> Row:
        """Return the inner step and the numbers of the visible tasks, each between the keys that change it."""
        of, gap = ("/", "") if brief else (" of ", "   ")
        row = self._place(f"step {self.shown_step}{of}{self.last_step}", "step_back", "step_on", "step", theme)
        if len(shown) < len(tasks):
            numbers = f"tasks {shown[0]}-{shown[-1]}" if len(shown) > 1 else f"task {shown[0]}"
            place = f"{numbers} of {tasks[0]}-{tasks[-1]}"
            row += [Segment(gap), *self._place(place, "previous_tasks", "next_tasks", "page", theme)]
        return row

    def _place(self, text: str, previous: str, following: str, action: str, theme: ChartTheme) -> Row:
        def key(changes: str, by: int) -> Segment:
            name = theme.printable(self.key_of(changes))
            return Segment(f" {name} ", theme.key + Style.from_meta({"@click": f"{action}({by})"}))

        return [key(previous, -1), Segment(theme.printable(text), theme.muted), key(following, 1)]

    def _legend(self, theme: ChartTheme) -> tuple[list[Row], Sequence[Segment]]:
        """Return the entries of the legend, and remarks on it. Only the first remark that fits is shown."""
        view = self._runs[0].views[0]
        entries: list[Row]
        if isinstance(view, ImageView):
            marks = ((palette.RIGHT, theme.glyphs.right, "right"), (palette.WRONG, theme.glyphs.wrong, "wrong"))
            entries = [[Segment(f"{mark} ", theme.colour(hue)), Segment(name, theme.text)] for hue, mark, name in marks]
            remarks = ("under each query: class predicted before → after", "support, then queries: before → after")
            return entries, [Segment(theme.printable(remark), theme.muted) for remark in remarks]
        entries = []
        for index, series in enumerate(task_series(view, self.shown_step, self._runs[0].colour)):
            if not series.name.startswith("after"):
                entries.append(legend_entry(index, series, theme))
                continue
            series = replace(series, name="after")  # the step is shown at the right end
            of_runs = self._runs[:1] if theme.distinct else self._runs  # they differ only in their colours
            samples = [legend_entry(index, replace(series, colour=run.colour), theme) for run in of_runs]
            entries.append([*(sample for sample, _ in samples), samples[0][-1]])
        return entries, ()

    def _cell(self, run: RunViews, task: int, width: int, height: int, theme: ChartTheme) -> list[Row]:
        """Draw one task of one run, below a caption."""
        view = run.of(task)
        if view is None:
            return centred(
                theme.printable(f"{run.label} was not evaluated on task {task}."), width, height, theme.muted
            )
        caption = self._caption(view, width, height, theme)
        size = (width, height - len(caption))
        # Runs on other data can have a view of a task with the same number.
        others = [each for run in self._runs if (each := run.of(task)) and quantities(each) == quantities(view)]
        if isinstance(view, RegressionView | CurveView):
            limits = curve_limits([each for each in others if isinstance(each, RegressionView | CurveView)])
            drawing = paint(curve_chart(view, self.shown_step, run.colour, limits), *size, theme)
        elif isinstance(view, ScatterView):
            scatters = [each for each in others if isinstance(each, ScatterView)]
            drawing = self._scatters(view, run.colour, scatters, *size, theme)
        else:
            self._shots = images.shots_of(view), images.visible_part(view, size, theme)[1]
            drawing = images.episode(view, self.shown_step, run.colour, size, theme, self.first_shot)
        return block([*caption, *drawing], width, height)

    def _scatters(
        self, view: ScatterView, colour: str, views: Sequence[ScatterView], width: int, height: int, theme: ChartTheme
    ) -> list[Row]:
        """Draw scatter charts of the targets of a task side by side, for as many targets as fit."""
        count = _targets_that_fit(view, width)
        each = (width - GAP * (count - 1)) // count
        charts = [scatter_chart(view, n, self.shown_step, colour, views) for n in range(count)]
        return beside([paint(chart, each, height, theme) for chart in charts], GAP)

    def _hidden_part(self, view: ImageView, width: int, height: int, theme: ChartTheme) -> str:
        """Return a remark on the classes or support images that do not fit, or an empty string if all are visible."""
        classes, shots = images.visible_part(view, (width, height), theme)
        if classes and (count := len(images.classes_of(view)) - classes):
            return f" ({count} class{'es' if count > 1 else ''} not shown)"
        if classes and shots < (total := images.shots_of(view)):
            first = min(self.first_shot, total - shots)
            key = theme.printable(self.key_of("next_shots"))
            return f" (support {first + 1}-{first + shots} of {total}: {key} shows more)"
        return ""

    def _caption(self, view: TaskView, width: int, height: int, theme: ChartTheme) -> list[Row]:
        """Return the longest caption that fits, on two rows if necessary and possible.

        If adaptation diverged, the outcome is styled as a warning.
        """
        diverged = has_diverged(view, self.shown_step)
        texts = [theme.printable(text) for text in captions(view, self.shown_step)]
        hidden, shorter = "", []
        if isinstance(view, ImageView):
            hidden = self._hidden_part(view, width, height - 1, theme)
        elif isinstance(view, ScatterView) and (count := len(view.truth) - _targets_that_fit(view, width)):
            hidden, shorter = f" ({count} target{'s' if count > 1 else ''} not shown)", texts
        texts = [*(text + hidden for text in texts), *shorter]
        if cell_len(texts[0]) > width and height >= 10 and not isinstance(view, ImageView):
            title = theme.printable(f"Task {view.task} · {view.title}{hidden}")
            results = (outcome(view, self.shown_step), captions(view, self.shown_step)[-1])
            below = next((text for text in map(theme.printable, results) if cell_len(text) <= width), None)
            if below is not None and cell_len(title) <= width:
                return [[Segment(title, theme.title)], [Segment(below, theme.warning if diverged else theme.text)]]
        longest = next((text for text in texts if cell_len(text) <= width), texts[-1])
        shown = truncate_words(longest, width, theme.glyphs.ellipsis)
        return [[Segment(shown, theme.warning if diverged else theme.title)]]


def _targets_that_fit(view: ScatterView, width: int) -> int:
    return max(1, min(len(view.truth), (width + GAP) // (CHART + GAP)))
