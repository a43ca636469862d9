"""The adaptation panel, which shows how models adapt to held-out tasks."""

from metatui.tui.widgets.adaptation.panel import MAX_PANEL_RUNS, AdaptationPanel
from metatui.tui.widgets.adaptation.views import RunViews

__all__ = ["MAX_PANEL_RUNS", "AdaptationPanel", "RunViews"]
