"""Line that says which settings are in the form, and which run is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from metatui.tui.keyboard.actions import with_keys
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget, spread, truncate, width_of

MAX_NAMES = 4
"""Maximum number of changed settings that the line lists by name."""


@dataclass(frozen=True)
class FormState:
    """Summary of the settings in the form: where they come from, which were changed, and how many are invalid."""

    source: str = "default settings"
    """Preset or run whose settings were put into the form, such as `preset quick`."""
    changed: Sequence[str] = ()
    """Names of the settings that differ from `source`."""
    invalid: int = 0
    """Number of invalid fields."""

    def words(self) -> list[str]:
        """Return descriptions of the state of the form, from the longest to the shortest."""
        count = len(self.changed)
        invalid = [f"{self.invalid} invalid"] if self.invalid else []
        texts = []
        for named in range(min(count, MAX_NAMES), 0, -1):
            more = with_keys(f" and {count - named} more ({{help}} lists all)") if count > named else ""
            texts.append([self.source, f"changed: {', '.join(self.changed[:named])}{more}", *invalid])
        changed = [f"{count} changed"] if count else []
        them = "it" if count == 1 else "them"
        texts += [[self.source, with_keys(f"{count} changed ({{help}} lists {them})"), *invalid]] if count else []
        short = self.source.removeprefix("preset ")
        texts += [[self.source, *changed, *invalid], [short, *changed, *invalid], [short, *(invalid or changed)]]
        return [f"form: {', '.join(parts)}" for parts in texts]


@dataclass(frozen=True)
class RunState:
    """State of a run that the work tab shows."""

    run: str
    status: str
    """Status in lower case, such as `finished`."""
    colour: str
    warned: bool = False
    """True if the result of the run is not finite."""


class ShownLine(RowsWidget):
    """Shows the state of the form on the left, and the name, colour and status of the shown runs on the right."""

    DEFAULT_CSS = "ShownLine { height: 1; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__(id="shown-line")
        self._form = FormState()
        self._runs: tuple[RunState, ...] = ()

    def show_form(self, form: FormState) -> None:
        self._form = form
        self.redraw()

    def show_runs(self, runs: Sequence[RunState]) -> None:
        """Show the name of the run in the work tab, or the names of the marked runs if they are shown side by side."""
        self._runs = tuple(runs)
        self.redraw()

    def rows(self, width: int, height: int, theme: ChartTheme) -> list[Row]:
        runs = self._right(width, theme)
        room = width - width_of(runs) - 3
        texts = [theme.printable(text) for text in self._form.words()]
        text = next(
            (text for text in texts if cell_len(text) <= room), truncate(texts[-1], room, theme.glyphs.ellipsis)
        )
        click = Style.from_meta({"@click": "app.pane('settings')"})
        style = theme.warning if self._form.invalid else theme.text
        return [spread([Segment(text, style + click)], runs, width)]

    def _right(self, width: int, theme: ChartTheme) -> Row:
        """Return the longest description of the shown runs that fits in two thirds of the line."""
        if not self._runs:
            return [Segment("no run is shown", theme.muted)]
        count = len(self._runs)
        fewer = [("", False, named) for named in range(count - 1, 0, -1)]
        for label, statuses, named in (("showing: ", True, count), ("", True, count), ("", False, count), *fewer):
            row: Row = [Segment(label, theme.text)] if label else []
            for index, run in enumerate(self._runs[:named]):
                row += [Segment("  ")] if index else []
                row += [Segment(f"{theme.glyphs.sample} ", theme.colour(run.colour)), Segment(run.run, theme.text)]
                if statuses:
                    row.append(Segment(f" ({run.status})", theme.warning if run.warned else theme.text))
            row += [Segment(f"  and {count - named} more", theme.text)] if named < count else []
            if width_of(row) <= 2 * width // 3:
                break
        return row
