"""Drawing data in the terminal: line charts and sparklines that cost little on the wire."""

from metatui.tui.charts.format import number, percent
from metatui.tui.charts.line_chart import LineChart
from metatui.tui.charts.series import Mark, Series
from metatui.tui.charts.sparkline import MetricSparkline

__all__ = ["LineChart", "Mark", "MetricSparkline", "Series", "number", "percent"]
