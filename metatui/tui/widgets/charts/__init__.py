"""Line charts and sparklines that send few bytes to the terminal."""

from metatui.tui.formatting import number, percent
from metatui.tui.widgets.charts.line_chart import LineChart
from metatui.tui.widgets.charts.series import ChartData, Mark, Series
from metatui.tui.widgets.charts.sparkline import MetricSparkline

__all__ = ["ChartData", "LineChart", "Mark", "MetricSparkline", "Series", "number", "percent"]
