"""Drawing data in the terminal: line charts and sparklines that cost little on the wire."""

from metatui.tui.widgets.charts.format import number, percent
from metatui.tui.widgets.charts.line_chart import LineChart
from metatui.tui.widgets.charts.series import Mark, Series
from metatui.tui.widgets.charts.sparkline import MetricSparkline

__all__ = ["LineChart", "Mark", "MetricSparkline", "Series", "number", "percent"]
