"""How learned initialisations adapt to held-out tasks: the panel below the charts."""

from metatui.tui.widgets.adaptation.panel import AdaptationPanel
from metatui.tui.widgets.adaptation.views import RunViews

__all__ = ["AdaptationPanel", "RunViews"]
