"""The `glyphs` source: characters that look handwritten, generated on demand.

A class has two to four strokes. Each stroke is a cubic Bézier curve that starts at the end of the previous stroke, at a
point along the previous stroke, or anywhere. Lake, Salakhutdinov and Tenenbaum (2015), "Human-level concept learning
through probabilistic program induction", use the same relations between strokes.

Shapes use C for the number of classes and S = STROKES.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metatui.learning.data import random
from metatui.learning.data.episodes import SPLITS, Split
from metatui.learning.data.glyphs.renderer import drawings, length, point, sampled
from metatui.learning.data.image_source import ImageSource
from metatui.learning.hardware.devices import to_device

CLASSES = 2**32
"""Number of classes in each split."""

POOLED_CLASSES = 1000
"""Number of classes in ordinary training, which does not use tasks. Omniglot has about as many training characters. The
number is limited because ordinary training needs one output for each class and many images of each class."""

STROKES = 4
"""Maximum number of strokes in a character. The minimum is two."""


class GlyphSource(ImageSource):
    """Tasks of generated characters, rendered on the CPU, so that they are the same on every device."""

    name = "glyphs"

    def class_count(self, split: Split) -> int:
        return CLASSES

    def class_name(self, split: Split, number: int) -> str:
        return proquint(number)

    def check_drawings(self, split: Split, shots: int, queries: int) -> None:
        """Accept all values of `shots` and `queries`, because the number of drawings of a class is not limited."""

    @property
    def pooled_classes(self) -> int:
        return POOLED_CLASSES

    def draw(self, split: Split, classes: Tensor, keys: Tensor, count: int) -> Tensor:
        # The splits are disjoint: no number is in two splits, and `random.keys` maps distinct numbers to distinct keys.
        numbers = classes * len(SPLITS) + SPLITS.index(split)
        strokes, written = class_strokes(random.keys(0, "glyphs", numbers))
        return to_device(drawings(strokes, written, random.bits(keys, count)), self.device)


def proquint(number: int) -> str:
    """Return a pronounceable name for a number below 2^32 (Wilkerson 2009, "A proposal for proquints")."""
    consonants, vowels = "bdfghjklmnprstvz", "aiou"

    def word(half: int) -> str:
        turns = ((consonants, 12), (vowels, 10), (consonants, 6), (vowels, 4), (consonants, 0))
        return "".join(letters[half >> shift & len(letters) - 1] for letters, shift in turns)

    return f"{word(number >> 16)}-{word(number & 0xFFFF)}"


def class_strokes(key: Tensor) -> tuple[Tensor, Tensor]:
    """Generate the strokes of each class. All coordinates are between -1 and 1.

    Args:
        key: int64 [C], one key of random numbers for each class.

    Returns:
        The control points of the strokes, float32 [C, S, 4, 2], and a mask of the strokes that are used, bool [C, S].
        Each class uses its first strokes, at least 2 and at most S.
    """
    chance = random.uniform(key, 7 * STROKES + 3).to(torch.float32)
    written = torch.arange(STROKES) < (2 + chance[:, -1:] * (STROKES - 1)).floor()
    ends = 2 * chance[:, 5 * STROKES : -1].reshape(-1, STROKES + 1, 2) - 1
    kind, side, bend, on, relation = chance[:, : 5 * STROKES].reshape(-1, 5, STROKES, 1).unbind(1)
    # Each stroke reaches from one point of the square to the next, so consecutive strokes stay inside.
    shapes = _shapes(ends.diff(dim=1), kind, side, bend)
    placed = [ends[:, :1] + shapes[:, 0]]
    for s in range(1, STROKES):
        previous = placed[-1]
        start = torch.where(relation[:, s] < 0.75, point(previous, on[:, s, 0]), ends[:, s])
        start = torch.where(relation[:, s] < 0.4, previous[:, 3], start)
        placed.append(start.unsqueeze(1) + shapes[:, s])
    return _scaled(torch.stack(placed, 1), written), written


def _shapes(reach: Tensor, kind: Tensor, side: Tensor, bend: Tensor) -> Tensor:
    """Return the control points [..., 4, 2] of strokes that start at the origin and end close to `reach` [..., 2].

    Args:
        kind: selects straight lines, S curves, arcs or loops, [..., 1] from 0 to 1.
        side: selects the side to which a stroke bends, [..., 1] from 0 to 1.
        bend: how far a stroke bends, [..., 1] from 0 to 1.
    """
    size = length(reach).unsqueeze(-1) + 1e-6
    reach = reach * (size.clamp(min=1.0) / size)
    across = torch.stack([-reach[..., 1], reach[..., 0]], -1) * torch.where(side < 0.5, -1.0, 1.0)
    straight, curved = 0.2 * bend - 0.1, 0.45 + 0.6 * bend
    is_straight, is_s, is_loop = kind < 0.35, kind < 0.5, kind > 0.88
    out = torch.where(is_straight, straight, torch.where(is_loop, 1.3, curved))
    back = torch.where(is_s & ~is_straight, -out, out)
    forth = torch.where(is_loop, 1.3, 0.33)
    first = forth * reach + out * across
    second = (1 - forth) * reach + back * across
    return torch.stack([torch.zeros_like(reach), first, second, reach], -2)


def _scaled(strokes: Tensor, written: Tensor) -> Tensor:
    """Centre and scale the strokes that are used, so that they fill the width or the height of the square."""
    points = sampled(strokes)
    unwritten = ~written[:, :, None, None]
    low = points.masked_fill(unwritten, torch.inf).amin((1, 2))
    high = points.masked_fill(unwritten, -torch.inf).amax((1, 2))
    size = (high - low).amax(1)
    return (strokes - ((low + high) / 2)[:, None, None]) * (2 / size)[:, None, None, None]
