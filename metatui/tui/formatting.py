"""Short status texts of validations. Texts shared with the command line are in `metatui.runs.formatting`."""

from __future__ import annotations

import math

from metatui.events import Evaluation
from metatui.runs.formatting import accuracy, headline, protocol_of, result_words, split_name
from metatui.tui.widgets.charts.format import number, percent

__all__ = ["accuracy", "best_and_last", "headline", "protocol_of", "result_words", "split_name", "value"]


def best_and_last(best: Evaluation | None, last: Evaluation) -> str:
    """Format the best and the last validation: `best 0.413 at 2,000 · last nan`."""
    if best is None:
        return f"no finite validation · last {value(last)}"
    text = f"best {value(best)} at {best.iteration:,}"
    return text if best.iteration == last.iteration else f"{text} · last {value(last)}"


def value(evaluation: Evaluation) -> str:
    """Format the metric after the last inner step, without its interval; nan if most tasks diverged."""
    mean = evaluation.final[0] if evaluation.is_finite else math.nan
    return percent(mean) if evaluation.accuracy else number(mean)
