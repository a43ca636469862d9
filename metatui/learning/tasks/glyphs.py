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
POINTS = 40


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
        consonants[half >> 12] + vowels[half >> 10 & 3] + consonants[half >> 6 & 15] + vowels[half >> 4 & 3] + consonants[half & 15]
        for half in (number >> 16, number & 0xFFFF)
    ]
    return "-".join(syllables)


def class_strokes(key: Tensor) -> tuple[Tensor, Tensor]:
    """The strokes of each class in a square from -1 to 1, and how many there are (2 to S).

    Returns:
        control points float32 [C, S, 4, 2], int64 [C].
    """
    chance = random.uniform(key, 12 * STROKES + 1).to(torch.float32)
    number = 2 + (chance[:, -1] * (STROKES - 1)).to(torch.int64)
    strokes: list[Tensor] = []
    for s in range(STROKES):
        u = chance[:, 12 * s : 12 * (s + 1), None]
        start = 2 * u[:, 0:2, 0] - 1
        if s:
            before = strokes[-1]
            start = torch.where(u[:, 2] < 0.75, bezier(before, u[:, 3])[:, 0], start)
            start = torch.where(u[:, 2] < 0.4, before[:, 3], start)
        strokes.append(_stroke(start, 2 * u[:, 4:6, 0] - 1, u[:, 6], u[:, 7], u[:, 8]))
    return _centred(torch.stack(strokes, 1), number), number


def _stroke(start: Tensor, end: Tensor, kind: Tensor, side: Tensor, bend: Tensor) -> Tensor:
    """A stroke from `start` towards `end`, both [C, 2]: straight, an arc, an S or a loop as `kind` [C, 1] in 0 to 1
    decides, bent to one side by as much as `bend` says. Returns [C, 4, 2]."""
    reach = end - start
    length = torch.sqrt(reach[:, :1] * reach[:, :1] + reach[:, 1:] * reach[:, 1:]) + 1e-6
    reach = reach * (length.clamp(min=0.8) / length)
    across = torch.stack([-reach[:, 1], reach[:, 0]], 1) * torch.where(side < 0.5, -1.0, 1.0)
    curved = 0.45 + 0.6 * bend
    straight = 0.2 * bend - 0.1
    loop = kind > 0.88
    along = torch.where(loop, 1.3, 0.33)
    out = torch.where(loop, 1.3, torch.where(kind < 0.35, straight, curved))
    back = torch.where(loop, 1.3, torch.where(kind < 0.35, straight, torch.where(kind < 0.5, -curved, curved)))
    first = start + along * reach + out * across
    second = start + (1 - along) * reach + back * across
    return torch.stack([start, first, second, start + reach], 1)


def _weights(t: Tensor) -> Tensor:
    """Weights of the four control points of a cubic Bézier curve at `t`: [...] to [..., 4]."""
    r = 1 - t
    return torch.stack([r * r * r, 3 * r * r * t, 3 * r * t * t, t * t * t], -1)


def bezier(control: Tensor, t: Tensor) -> Tensor:
    """Points of curves [..., 4, 2] at `t` [..., n]: [..., n, 2]."""
    w = _weights(t).unsqueeze(-1)
    c = control.unsqueeze(-3)
    # Summed by hand: a matrix product may round differently in a batch of another size.
    return w[..., 0, :] * c[..., 0, :] + w[..., 1, :] * c[..., 1, :] + w[..., 2, :] * c[..., 2, :] + w[..., 3, :] * c[..., 3, :]


_SEGMENTS = 12


def _traced(strokes: Tensor) -> Tensor:
    """Each stroke as a chain of straight segments: [C, S, 4, 2] to [C, S, _SEGMENTS + 1, 2]."""
    t = torch.linspace(0, 1, _SEGMENTS + 1)
    return bezier(strokes, t.expand(*strokes.shape[:2], -1))


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


JITTER = 0.10
TURN = 0.18
SLANT = 0.20
SIZE = 0.14
SHIFT = 2.2
RADIUS = 8.8


def write(strokes: Tensor, number: Tensor, keys: Tensor) -> Tensor:
    """Drawings of classes.

    Args:
        strokes, number: as from `class_strokes`.
        keys: int64 [C, D], one for each drawing.

    Returns:
        float32 [C, D, SIDE, SIDE] from 0 to 1, ink as 1.
    """
    weights, way = _stops(strokes, number)
    wobble = 4 * STROKES * 2
    chance = _signed(keys, wobble + 8)  # [C, D, ...]
    control = strokes.flatten(1, 2).unsqueeze(1) + JITTER * chance[..., :wobble].unflatten(-1, (-1, 2))
    turn, slant = TURN * chance[..., wobble], SLANT * chance[..., wobble + 1]
    wide, tall = 1 + SIZE * chance[..., wobble + 2], 1 + SIZE * chance[..., wobble + 3]
    x, y = control[..., 0], control[..., 1]
    affine = [wide, wide * (slant - turn), tall * turn, tall]
    a, b, c, d = (RADIUS * f.unsqueeze(-1) for f in affine)
    middle = (SIDE - 1) / 2 + SHIFT * chance[..., wobble + 4 : wobble + 6]
    control = torch.stack([a * x + b * y + middle[..., :1], c * x + d * y + middle[..., 1:]], -1)  # [C, D, S*4, 2]
    # On a grid this coarse the products are exact in float64, whatever the order of the sums.
    weights = (weights * 2**20).round().to(torch.float64)
    control = (control * 2**12).round().to(torch.float64)
    at = weights.unsqueeze(1) @ control
    at = (at * (2.0**-32 * FINE)).round().to(torch.int64).clamp(0, SIDE * FINE - 1)  # [C, D, P, 2]
    pen = ((chance[..., wobble + 6] + 1) * (PENS / 2)).to(torch.int64)[..., None, None]
    ink = pens()[pen * (SIDE * FINE) + at].flatten(0, 1)  # [C*D, P, 2, SIDE]
    image = ink[:, :, 1].mT @ ink[:, :, 0]
    gain = (GAIN * RADIUS / 255.0**2) * way
    return (image.unflatten(0, keys.shape) * gain[:, None, None, None]).clamp(max=1)

FINE = 8
PENS = 8
GAIN = 0.9

@functools.cache
def pens() -> Tensor:
    """How much ink a pen at each of SIDE * FINE places leaves on each of SIDE pixels, for PENS widths: float32
    [PENS * SIDE * FINE, SIDE], whole numbers to 255, so that sums of their products are exact."""
    radius = torch.linspace(0.65, 1.05, PENS)[:, None, None]
    away = torch.arange(SIDE) - torch.arange(SIDE * FINE)[:, None] / FINE
    return (255 * torch.exp(-0.5 * (away / radius) ** 2)).round().flatten(0, 1)


def _signed(key: Tensor, count: int) -> Tensor:
    """`count` numbers (a multiple of 4) in [-1, 1) for each key, float32 [..., count], in steps of 2^-15."""
    return random.bits(key, count // 4).view(torch.int16).to(torch.float32) * 2.0**-15
