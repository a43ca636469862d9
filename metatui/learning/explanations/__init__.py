"""What each algorithm does, in the words of its paper and with one's own settings put in.

One file for each file of `metatui.learning.algorithms`; these need no torch, so that the app shows them at once.
"""

from __future__ import annotations

from metatui.config.settings import Settings
from metatui.learning.explanations import fomaml, maml, pretrained, reptile, scratch
from metatui.learning.explanations.explanation import Explanation

__all__ = ["ALGORITHMS", "Explanation", "explanation"]

ALGORITHMS = {
    "maml": maml.explanation,
    "fomaml": fomaml.explanation,
    "reptile": reptile.explanation,
    "scratch": scratch.explanation,
    "pretrained": pretrained.explanation,
}


def explanation(settings: Settings, algorithm: str | None = None) -> Explanation:
    """Of the settings' algorithm, or of `algorithm` with everything else as the settings say."""
    name = algorithm or settings.algorithm.name
    # Not checked as settings are: another algorithm may refuse what it would not even read.
    group = settings.algorithm.model_copy(update={"name": name})
    return ALGORITHMS[name](settings.model_copy(update={"algorithm": group}))
