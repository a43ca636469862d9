"""The adaptation panel, which shows how models adapt to held-out tasks."""

from metatui.tui.widgets.adaptation.panel import MOST_RUNS, AdaptationPanel
from metatui.tui.widgets.adaptation.views import RunViews

__all__ = ["MOST_RUNS", "AdaptationPanel", "RunViews"]
