"""The adaptation panel: held-out tasks side by side, or up to three runs beside each other on the same tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.reactive import reactive

from metatui.events import ImageView, RegressionView, TaskView
from metatui.tui import palette
from metatui.tui.widgets.adaptation import images, regression
from metatui.tui.widgets.adaptation.views import RunViews, captions, outcome, tasks_of
from metatui.tui.widgets.charts.canvas import Canvas
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.header import entry, joined, line_marker
from metatui.tui.widgets.charts.row_widget import (
    Row,
    RowsWidget,
    beside,
    block,
    centred,
    fitted,
    padded,
    spread,
    width_of,
)

MOST_RUNS: Final = 3
GAP: Final = 3
"""Columns between cells."""


@dataclass(frozen=True)
class Grid:
    """How many cells fit: runs or tasks across, tasks down."""

    across: int
    down: int
    tasks: int
    """On one page."""


class AdaptationPanel(RowsWidget, can_focus=True):
    """What adaptation does on tasks never seen in training, at any inner step.

    `[` and `]` move through the inner steps, `,` and `.` through the tasks; a click on their names in the first row
    does the same.
    """

    DEFAULT_CSS = """
    AdaptationPanel { min-height: 6; }
    """

    ALLOW_MAXIMIZE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_square_bracket", "step(-1)", "Step back", show=False, id="adaptation.step_back"),
        Binding("right_square_bracket", "step(1)", "Step on", show=False, id="adaptation.step_on"),
        Binding("comma", "page(-1)", "Previous tasks", show=False, id="adaptation.previous_tasks"),
        Binding("full_stop", "page(1)", "Next tasks", show=False, id="adaptation.next_tasks"),
    ]

    step: reactive[int | None] = reactive(None, repaint=False)
    """The inner step that "after" is; None for the last, however many there are."""
    first_task: reactive[int] = reactive(0, repaint=False)
    """The position of the first task shown, from 0."""

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(name=name, id=id, classes=classes)
        self._runs: tuple[RunViews, ...] = ()
        self._empty = ""
        self._canvas = Canvas()

    def show_views(self, runs: Sequence[RunViews], *, empty: str) -> None:
        """Show these runs; one has its tasks side by side, two or three have a column each.

        Args:
            empty: A sentence for when there is nothing to show: what to do next.
        """
        shown = tuple(run for run in runs if run.views)[:MOST_RUNS]
        if (shown, empty) == (self._runs, self._empty):
            return
        self._runs, self._empty = shown, empty
        self.first_task = min(self.first_task, max(0, len(tasks_of(self._runs)) - 1))
        self.redraw()

    @property
    def last_step(self) -> int:
        return max((run.last_step for run in self._runs), default=0)

    @property
    def shown_step(self) -> int:
        return self.last_step if self.step is None else min(self.step, self.last_step)

    def action_step(self, by: int) -> None:
        """Move the inner step that is shown; at the last one it stays with the last of later evaluations too."""
        step = max(0, self.shown_step + by)
        self.step = None if step >= self.last_step else step

    def action_page(self, by: int) -> None:
        """Move to the tasks before or after those shown."""
        size = self._grid(*self.content_size).tasks
        last = len(tasks_of(self._runs)) - 1
        target = self.first_task + by * size
        if target <= last:
            self.first_task = max(0, target)

    def watch_step(self) -> None:
        self.redraw()

    def watch_first_task(self) -> None:
        self.redraw()

    def _smallest(self) -> tuple[int, int]:
        """The least width and height that a cell is worth having in, its caption included."""
        view = self._runs[0].views[0]
        if isinstance(view, RegressionView):
            return 28, 12
        ways = len(images.classes_of(view))
        if len(self._runs) > 1:
            return ways * (2 * images.SMALLEST + 1) - 1, 20
        return ways * (2 * (images.SMALLEST + 1) + 1) + images.LEAD + images.CHART + 2, 16

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

    def rows(self, width: int, height: int, look: ChartTheme) -> list[Row]:
        if not self._runs:
            return centred(look.say(self._empty), width, height, look.muted)
        grid = self._grid(width, height)
        tasks = tasks_of(self._runs)
        shown = tasks[self.first_task : self.first_task + grid.tasks]
        several = len(self._runs) > 1
        cell_width = (width - GAP * (grid.across - 1)) // grid.across
        headings = [self._headings(grid.across, cell_width, width, look)] if several else []
        cell_height = max(1, (height - 1 - len(headings)) // grid.down)
        body: list[Row] = []
        for row in range(grid.down):
            if several:
                pairs = [(run, task) for run in self._runs[: grid.across] for task in shown[row : row + 1]]
            else:
                pairs = [(self._runs[0], task) for task in shown[row * grid.across : (row + 1) * grid.across]]
            cells = [self._cell(run, task, cell_width, cell_height, look) for run, task in pairs]
            body += beside(cells, GAP) if cells else []
        return [self._header(width, tasks, shown, look), *headings, *body]

    def _headings(self, count: int, cell: int, width: int, look: ChartTheme) -> Row:
        """The runs' names in their colours, over their columns; at the right end how many there is no room for."""
        hidden = len(self._runs) - count
        more = [Segment(f"{hidden} more run{'s' if hidden > 1 else ''}: widen", look.title)] if hidden else []
        row: Row = []
        for index, run in enumerate(self._runs[:count]):
            sample = line_marker(2, look) if look.distinct else look.glyphs.sample
            room = cell - width_of(more) - GAP if hidden and index == count - 1 else cell
            name = fitted(f"{sample} {look.say(run.label)}", room, look.glyphs.ellipsis)
            heading = padded([Segment(name, look.colour(run.colour, bold=True))], room)
            row += ([Segment(" " * GAP)] if index else []) + heading
        return spread(row, more, width) if hidden else row

    def _header(self, width: int, tasks: Sequence[int], shown: Sequence[int], look: ChartTheme) -> Row:
        """What the marks mean on the left; on the right where one is and which keys lead on, shorter where the marks
        need the room."""
        legend, remarks = self._legend(look)
        marks = joined(legend, width, look)
        full, short = (self._places(tasks, shown, brief, look) for brief in (False, True))
        places = full if width_of([*marks, *full]) + 2 <= width else short
        room = width - width_of(places) - 2
        if remark := next((each for each in remarks if width_of([*marks, each]) + 2 <= room), None):
            marks = [*marks, Segment("  "), remark]
        return spread(marks if width_of(marks) <= room else joined(legend, room, look), places, width)

    def _places(self, tasks: Sequence[int], shown: Sequence[int], brief: bool, look: ChartTheme) -> Row:
        """Which inner step and which tasks are shown, between the keys that lead on."""
        of, gap = ("/", "") if brief else (" of ", "   ")
        row = self._place(f"step {self.shown_step}{of}{self.last_step}", "[", "]", "step", look)
        if len(shown) < len(tasks):
            these = f"tasks {shown[0]}-{shown[-1]}" if len(shown) > 1 else f"task {shown[0]}"
            row += [Segment(gap), *self._place(f"{these}{of}{tasks[0]}-{tasks[-1]}", ",", ".", "page", look)]
        return row

    def _place(self, text: str, back: str, on: str, action: str, look: ChartTheme) -> Row:
        def key(name: str, by: int) -> Segment:
            return Segment(f" {name} ", look.key + Style.from_meta({"@click": f"{action}({by})"}))

        return [key(back, -1), Segment(look.say(text), look.muted), key(on, 1)]

    def _legend(self, look: ChartTheme) -> tuple[list[Row], Sequence[Segment]]:
        """What each mark means, and remarks, of which the first one is made that there is room for."""
        view = self._runs[0].views[0]
        entries: list[Row]
        if isinstance(view, ImageView):
            marks = ((palette.RIGHT, look.glyphs.right, "right"), (palette.WRONG, look.glyphs.wrong, "wrong"))
            entries = [[Segment(f"{mark} ", look.colour(hue)), Segment(name, look.text)] for hue, mark, name in marks]
            remarks = ("under each query: class predicted before → after", "support, then queries: before → after")
            return entries, [Segment(look.say(remark), look.muted) for remark in remarks]
        entries = []
        for index, series in enumerate(regression.curves(view, self.shown_step, self._runs[0].colour)):
            if series.name.startswith("after"):
                if len(self._runs) > 1:
                    continue
                series = replace(series, name="after")  # after how many steps stands on the right
            entries.append(entry(index, series, look))
        return entries, ()

    def _cell(self, run: RunViews, task: int, width: int, height: int, look: ChartTheme) -> list[Row]:
        """One task of one run: what happened in words, and the drawing."""
        view = run.of(task)
        if view is None:
            return centred(look.say(f"{run.label} was not evaluated on task {task}."), width, height, look.muted)
        caption = self._caption(view, width, height, look)
        size = (width, height - len(caption))
        if isinstance(view, RegressionView):
            others = [found for other in self._runs if isinstance(found := other.of(task), RegressionView)]
            y_limits = regression.limits(others, size[1])
            drawing = regression.chart(view, self.shown_step, run.colour, y_limits, size, look, self._canvas)
        else:
            drawing = images.episode(view, self.shown_step, run.colour, size, look, self._canvas)
        return block([*caption, *drawing], width, height)

    def _caption(self, view: TaskView, width: int, height: int, look: ChartTheme) -> list[Row]:
        """The fullest sentence that fits; in two rows if it needs two and there is room."""
        said = [look.say(text) for text in captions(view, self.shown_step)]
        if isinstance(view, ImageView) and (hidden := images.hidden_classes(view, (width, height - 1), look)):
            said = [f"{text} ({hidden} classes hidden: widen)" for text in said]
        if cell_len(said[0]) > width and height >= 10 and isinstance(view, RegressionView):
            title = look.say(f"Task {view.task} · {view.title}")
            below = look.say(outcome(view, self.shown_step))
            if max(cell_len(title), cell_len(below)) <= width:
                return [[Segment(title, look.title)], [Segment(below, look.text)]]
        best = next((text for text in said if cell_len(text) <= width), said[-1])
        return [[Segment(fitted(best, width, look.glyphs.ellipsis), look.title)]]
