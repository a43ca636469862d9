"""`glyphs`: an endless set of characters that look written by hand, made up as they are asked for.

A class is a few strokes, each a cubic Bézier curve that starts where the one before it ended, along that one, or
anywhere (the relations between strokes of Lake, Salakhutdinov and Tenenbaum 2015, "Human-level concept learning
through probabilistic program induction"). A drawing of it is the same strokes written by an unsteady hand, with a
slant, a size, a place and a pen of its own.

In the shape descriptions C is the number of classes, D of drawings of each, S = STROKES and P = POINTS.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from metatui.learning import random
from metatui.learning.episodes import SPLITS, Split
from metatui.learning.tasks.images import SIDE, ImageSource

CLASSES = 2**32
"""Classes in each split."""

POOLED_CLASSES = 1000
"""An endless set has no last class, but ordinary classification needs an output for each class and has to see each
often: so it is taught the first thousand of the training classes, about as many as Omniglot's training characters."""

STROKES = 4
POINTS = 56


class GlyphSource(ImageSource):
    """Tasks of made-up characters. Rendered on the CPU, so that they are the same on any device."""

    name = "glyphs"

    def class_count(self, split: Split) -> int:
        return CLASSES

    def class_name(self, split: Split, number: int) -> str:
        return pronounceable(number)

    def check_drawings(self, shots: int, queries: int) -> None:
        """A class has as many drawings as are asked for."""

    @property
    def pooled_classes(self) -> int:
        return POOLED_CLASSES

    def draw(self, split: Split, classes: Tensor, keys: Tensor, count: int) -> Tensor:
        # Disjoint for certain: no number stands in two splits, and `random.keys` gives each a key of its own.
        numbers = classes * len(SPLITS) + SPLITS.index(split)
        strokes, number = class_strokes(random.keys(0, "glyphs", numbers))
        return write(strokes, number, random.bits(keys, count)).to(self.device)


def pronounceable(number: int) -> str:
    """A name for a number below 2^32 that can be said (Wilkerson 2009, "A proposal for proquints")."""
    consonants, vowels = "bdfghjklmnprstvz", "aiou"
    syllables = [
        consonants[half >> 12]
        + vowels[half >> 10 & 3]
        + consonants[half >> 6 & 15]
        + vowels[half >> 4 & 3]
        + consonants[half & 15]
        for half in (number >> 16, number & 0xFFFF)
    ]
    return "-".join(syllables)


def class_strokes(key: Tensor) -> tuple[Tensor, Tensor]:
    """The strokes of each class in a square from -1 to 1, and how many there are (2 to S).

    Returns:
        control points float32 [C, S, 4, 2], int64 [C].
    """
    chance = random.uniform(key, 7 * STROKES + 3).to(torch.float32)
    number = 2 + (chance[:, -1] * (STROKES - 1)).to(torch.int64)
    ends = (2 * chance[:, -3 - 2 * STROKES : -1] - 1).unflatten(1, (STROKES + 1, 2))
    kind, side, bend, along, relation = chance[:, : 5 * STROKES].unflatten(1, (5, STROKES)).unsqueeze(-1).unbind(1)
    # Ways from one point of the square to the next, so that strokes that follow each other stay in it.
    shapes = _shapes(ends.diff(dim=1), kind, side, bend)
    on = _weights(along.squeeze(-1))
    placed = [ends[:, :1] + shapes[:, 0]]
    for s in range(1, STROKES):
        before = placed[-1]
        start = torch.where(relation[:, s] < 0.75, _blend(on[:, s], before), ends[:, s])
        start = torch.where(relation[:, s] < 0.4, before[:, 3], start)
        placed.append(start.unsqueeze(1) + shapes[:, s])
    return _centred(torch.stack(placed, 1), number), number


def _shapes(reach: Tensor, kind: Tensor, side: Tensor, bend: Tensor) -> Tensor:
    """Strokes from the origin to about `reach` [..., 2]: straight, arcs, S or loops as `kind` [..., 1] decides, to one
    `side` by as much as `bend` says, all in 0 to 1. Returns control points [..., 4, 2]."""
    length = torch.sqrt(reach[..., :1] * reach[..., :1] + reach[..., 1:] * reach[..., 1:]) + 1e-6
    reach = reach * (length.clamp(min=1.0) / length)
    across = torch.stack([-reach[..., 1], reach[..., 0]], -1) * torch.where(side < 0.5, -1.0, 1.0)
    curved, straight = 0.45 + 0.6 * bend, 0.2 * bend - 0.1
    loop = kind > 0.88
    along = torch.where(loop, 1.3, 0.33)
    out = torch.where(loop, 1.3, torch.where(kind < 0.35, straight, curved))
    back = torch.where(kind < 0.5, torch.where(kind < 0.35, straight, -curved), out)
    first = along * reach + out * across
    second = (1 - along) * reach + back * across
    return torch.stack([torch.zeros_like(reach), first, second, reach], -2)


def _weights(t: Tensor) -> Tensor:
    """Weights of the four control points of a cubic Bézier curve at `t`: [...] to [..., 4]."""
    r = 1 - t
    return torch.stack([r * r * r, 3 * r * r * t, 3 * r * t * t, t * t * t], -1)


def _blend(w: Tensor, c: Tensor) -> Tensor:
    """The point that weights [..., 4] make of control points [..., 4, 2], added up by hand: a matrix product may
    round differently in a batch of another size."""
    w = w.unsqueeze(-1)
    return w[..., 0, :] * c[..., 0, :] + w[..., 1, :] * c[..., 1, :] + w[..., 2, :] * c[..., 2, :] + w[..., 3, :] * c[..., 3, :]


_SEGMENTS = 12


def _traced(strokes: Tensor) -> Tensor:
    """Each stroke as a chain of straight segments: [C, S, 4, 2] to [C, S, _SEGMENTS + 1, 2]."""
    return _blend(_weights(torch.linspace(0, 1, _SEGMENTS + 1)), strokes.unsqueeze(2))


def _centred(strokes: Tensor, number: Tensor) -> Tensor:
    """Moved and scaled until what is written fills the square one way."""
    written = (torch.arange(STROKES) < number[:, None])[:, :, None, None]
    traced = _traced(strokes)
    low = traced.masked_fill(~written, torch.inf).amin((1, 2))
    high = traced.masked_fill(~written, -torch.inf).amax((1, 2))
    size = (high - low).amax(1)
    return (strokes - ((low + high) / 2)[:, None, None]) * (2 / size)[:, None, None, None]


def _stops(strokes: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
    """Where the pen leaves its ink: P stops evenly along the strokes of each class.

    Returns:
        The weight of every control point at every stop, float64 [C, P, S*4], and the way between two stops,
        float32 [C].
    """
    steps = _traced(strokes).diff(dim=2)
    lengths = torch.sqrt(steps[..., 0] * steps[..., 0] + steps[..., 1] * steps[..., 1])
    lengths = lengths * (torch.arange(STROKES) < number[:, None])[:, :, None]
    end = lengths.flatten(1).cumsum(1)
    way = end[:, -1:] / POINTS
    stop = way * (torch.arange(POINTS) + 0.5)
    segment = torch.searchsorted(end, stop).clamp(max=STROKES * _SEGMENTS - 1)
    left = (end.gather(1, segment) - stop) / lengths.flatten(1).gather(1, segment).clamp(min=1e-6)
    t = (segment % _SEGMENTS + 1 - left.clamp(0, 1)) / _SEGMENTS
    own = torch.nn.functional.one_hot(segment // _SEGMENTS, STROKES)
    return (own.unsqueeze(-1) * _weights(t).unsqueeze(-2)).flatten(2), way[:, 0]


JITTER = 0.14
TURN = 0.22
SLANT = 0.25
SIZE = 0.2
SHIFT = 3.0
RADIUS = 9.0


def write(strokes: Tensor, number: Tensor, keys: Tensor) -> Tensor:
    """Drawings of classes.

    Args:
        strokes, number: as from `class_strokes`.
        keys: int64 [C, D], one for each drawing.

    Returns:
        float32 [C, D, SIDE, SIDE] from 0 to 1, ink as 1.
    """
    weights, way = _stops(strokes, number)
    chance = _signed(keys, 8 * STROKES + 8)  # [C, D, ...]
    hand, wobble = chance[..., :8], chance[..., 8:].unflatten(-1, (2, -1))
    x, y = (strokes.flatten(1, 2).mT.unsqueeze(1) + JITTER * wobble).unbind(2)  # [C, D, S*4]
    turn, slant = TURN * hand[..., 0:1], SLANT * hand[..., 1:2]
    wide, tall = RADIUS * (1 + SIZE * hand[..., 2:3]), RADIUS * (1 + SIZE * hand[..., 3:4])
    across = wide * (x + (slant - turn) * y) + (SHIFT * hand[..., 4:5] + (SIDE - 1) / 2)
    down = tall * (y + turn * x) + (SHIFT * hand[..., 5:6] + (SIDE - 1) / 2)
    # On grids this coarse the products below are exact, whatever the order of their sums.
    weights = (weights * 2**20).round().to(torch.float64)
    control = (torch.cat([across, down], 1) * 2**12).round().to(torch.float64)
    at = (weights @ control.mT * (2.0**-32 * FINE)).round().clamp(0, SIDE * FINE - 1).to(torch.int32)  # [C, P, 2*D]
    pen = ((hand[..., 6] + 1) * (PENS / 2)).to(torch.int32) * (SIDE * FINE)
    at = at.unflatten(2, (2, -1)).permute(2, 0, 3, 1) + pen.unsqueeze(-1)  # [2, C, D, P]
    across_ink, down_ink = F.embedding(at.flatten(1, 2), pens())  # [C*D, P, SIDE] each
    image = (down_ink.mT @ across_ink).unflatten(0, keys.shape)
    gain = (GAIN * RADIUS / 255.0**2) * way
    return image.mul_(gain[:, None, None, None]).clamp_(max=1)


FINE = 8
PENS = 8
GAIN = 0.85


@functools.cache
def pens() -> Tensor:
    """How much ink a pen at each of SIDE * FINE places leaves on each of SIDE pixels, for PENS widths: float32
    [PENS * SIDE * FINE, SIDE], whole numbers to 255, so that sums of their products are exact."""
    radius = torch.linspace(0.52, 0.72, PENS)[:, None, None]
    away = torch.arange(SIDE) - torch.arange(SIDE * FINE)[:, None] / FINE
    return (255 * torch.exp(-0.5 * (away / radius) ** 2)).round().flatten(0, 1)


def _signed(key: Tensor, count: int) -> Tensor:
    """`count` numbers (a multiple of 4) in [-1, 1) for each key, float32 [..., count], in steps of 2^-15."""
    return random.bits(key, count // 4).view(torch.int16).to(torch.float32) * 2.0**-15
