"""Drawings of a character given as strokes: by an unsteady hand, with a slant, a size, a place and a pen of its own.

Ink is Gaussian spots at even stops along the strokes. A spot is the product of its profiles across and down, so an
image is one matrix product over the stops; the profiles come out of a table.

In the shape descriptions C is the number of classes, D of drawings of each, S of strokes and P = STOPS.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from metatui.learning.data import random
from metatui.learning.data.glyphs.bezier import SEGMENTS, along, length, weights
from metatui.learning.data.image_source import SIDE

STOPS = 56
"""Spots of ink in a drawing; the longest have two radii of the finest pen from one to the next, and show no gaps."""

_REACH = 9.0  # pixels from the middle to the edge of a character
_PENS = torch.linspace(0.52, 0.72, 8)  # standard deviations of a spot, in pixels
_INK = 0.85  # per pixel of way
_PLACES = 8  # of a spot, in a pixel
_AT_ONCE = 256  # drawings whose ink stays in the processor's cache: twice as fast as all together

# Largest departures of a drawing from its class.
_WOBBLE = 0.14  # of a control point, in halves of the character's size
_TURN = 0.22  # radians
_SLANT = 0.25  # across for down
_SIZE = 0.2  # of each side
_SHIFT = 3.0  # pixels


def drawings(strokes: Tensor, written: Tensor, keys: Tensor) -> Tensor:
    """Draws classes.

    Args:
        strokes: control points in a square from -1 to 1, float32 [C, S, 4, 2].
        written: which of the strokes to draw, bool [C, S].
        keys: int64 [C, D], one for each drawing.

    Returns:
        float32 [C, D, SIDE, SIDE] from 0 to 1, ink as 1.
    """
    blend, way = _stops(strokes, written)
    chance = _chance(keys, 8 * strokes.shape[1] + 8)
    across, down = _placed(strokes.flatten(1, 2), chance)
    # On grids this coarse the products are exact in float64, whatever the order of their sums.
    blend = (blend * 2**20).round().to(torch.float64)
    control = (torch.cat([across, down], 1) * 2**12).round().to(torch.float64)
    places = (blend @ control.mT * (2.0**-32 * _PLACES)).round().clamp(0, SIDE * _PLACES - 1)  # [C, P, 2*D]
    pen = ((chance[..., 6:7] + 1) * (len(_PENS) / 2)).floor() * (SIDE * _PLACES)
    rows = (places.reshape(*places.shape[:2], 2, -1).permute(2, 0, 3, 1) + pen).to(torch.int32)  # [2, C, D, P]
    gain = _INK * _REACH / 255.0**2 * way
    return (_inked(rows.flatten(1, 2)).reshape(*keys.shape, SIDE, SIDE) * gain[:, None, None, None]).clamp_(max=1)


def _inked(rows: Tensor) -> Tensor:
    """Adds up spots of ink, given as rows of the table of profiles, across and down: [2, D, P] to [D, SIDE, SIDE]."""
    images = torch.empty(rows.shape[1], SIDE, SIDE)
    for start in range(0, len(images), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        across, down = F.embedding(rows[:, part], _profiles())  # [d, P, SIDE] each
        torch.bmm(down.mT, across, out=images[part])
    return images


def _stops(strokes: Tensor, written: Tensor) -> tuple[Tensor, Tensor]:
    """P stops evenly along what is written of each class.

    Returns:
        The weight of each control point at each stop, float32 [C, P, S*4], and the way from one stop to the next,
        float32 [C].
    """
    lengths = (length(along(strokes).diff(dim=2)) * written.unsqueeze(-1)).flatten(1)
    ends = lengths.cumsum(1)
    way = ends[:, -1:] / STOPS
    stops = way * (torch.arange(STOPS) + 0.5)
    segment = torch.searchsorted(ends, stops)
    left = (ends.gather(1, segment) - stops) / lengths.gather(1, segment)
    t = (segment % SEGMENTS + 1 - left) / SEGMENTS
    of_stroke = F.one_hot(segment // SEGMENTS, strokes.shape[1])
    return (of_stroke.unsqueeze(-1) * weights(t).unsqueeze(-2)).flatten(2), way.squeeze(1)


def _placed(control: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
    """Where the control points [C, S*4, 2] of each drawing are, across and down in pixels, each [C, D, S*4].

    Args:
        chance: the drawing's departures from its class, from -1 to 1, [C, D, 8 + 2*S*4].
    """
    turn, slant, width, height, right, low = (chance[..., i : i + 1] for i in range(6))
    wobble_x, wobble_y = chance[..., 8:].chunk(2, -1)
    x = control[:, None, :, 0] + _WOBBLE * wobble_x
    y = control[:, None, :, 1] + _WOBBLE * wobble_y
    middle = (SIDE - 1) / 2
    across = x + (_SLANT * slant - _TURN * turn) * y  # so small a turn is two slants
    down = y + _TURN * turn * x
    return (
        middle + _SHIFT * right + _REACH * (1 + _SIZE * width) * across,
        middle + _SHIFT * low + _REACH * (1 + _SIZE * height) * down,
    )


@functools.cache
def _profiles() -> Tensor:
    """How much ink a spot at each place leaves on each pixel of a line, for each pen: float32
    [pens * SIDE * _PLACES, SIDE], whole numbers to 255, so that sums of their products are exact in float32."""
    away = torch.arange(SIDE) - torch.arange(SIDE * _PLACES).unsqueeze(1) / _PLACES
    return (255 * torch.exp(-0.5 * (away / _PENS[:, None, None]) ** 2)).round().flatten(0, 1)


def _chance(key: Tensor, count: int) -> Tensor:
    """`count` numbers (a multiple of 4) in [-1, 1) for each key, float32 [..., count], in steps of 2^-15."""
    return random.bits(key, count // 4).view(torch.int16).to(torch.float32) * 2.0**-15
