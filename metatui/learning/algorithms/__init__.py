"""Meta-learning algorithms, one file each, written like the pseudo-code of their papers."""

from __future__ import annotations

from metatui.learning.algorithms.base import Algorithm, MetaStep, PendingStep
from metatui.learning.algorithms.fomaml import FOMAML
from metatui.learning.algorithms.maml import MAML
from metatui.learning.algorithms.pretrained import Pretrained
from metatui.learning.algorithms.reptile import Reptile
from metatui.learning.algorithms.scratch import Scratch

__all__ = ["ALGORITHMS", "Algorithm", "MetaStep", "PendingStep"]

ALGORITHMS: dict[str, type[Algorithm]] = {
    "maml": MAML,
    "fomaml": FOMAML,
    "reptile": Reptile,
    "scratch": Scratch,
    "pretrained": Pretrained,
}
