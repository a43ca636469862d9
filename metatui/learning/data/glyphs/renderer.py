"""Rendering of characters from their strokes.

Each drawing of a character has a different wobble, slant, size, position and pen width. A drawing is a sum of Gaussian
dots at equal distances along the strokes. Each dot is the product of a horizontal and a vertical profile, so an image
is one matrix product over the dots. The profiles are tabulated.

In the code for Bézier curves, sums of products are written out, because matrix products and reductions may round
differently in a batch of another size, and an image must not depend on the other images in its batch.

Shapes use C for the number of classes, D for the drawings of each class, S for the strokes and P = STOPS.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from metatui.learning.data import random
from metatui.learning.data.image_source import SIDE

STOPS = 56
"""Number of Gaussian dots in a drawing. Even in the longest drawing, there are no gaps: neighbouring dots are two radii
of the finest pen apart."""
SEGMENTS = 12
"""Number of straight segments that approximate a curve when its length and extent are measured."""

_REACH = 9.0  # pixels from the centre to the edge of a character
_PENS = torch.linspace(0.52, 0.72, 8)  # standard deviations of a dot, in pixels
_INK = 0.85  # amount of ink per pixel along a stroke
_PLACES = 8  # positions of a dot within a pixel
_CHUNK = 256  # drawings rendered together: their data fit into the processor's cache, which doubles the speed

# Largest deviations of a drawing from its class.
_WOBBLE = 0.14  # of a control point, in halves of the character's size
_TURN = 0.22  # radians
_SLANT = 0.25  # horizontal shift for each unit of height
_SIZE = 0.2  # relative change of width and of height
_SHIFT = 3.0  # pixels


def weights(t: Tensor) -> Tensor:
    """Return the Bernstein weights [..., 4] of the four control points at `t` [...], where `t` is from 0 to 1."""
    r = 1 - t
    return torch.stack([r * r * r, 3 * r * r * t, 3 * r * t * t, t * t * t], -1)


def point(control: Tensor, t: Tensor) -> Tensor:
    """Return the point [..., 2] at `t` [...] of each curve [..., 4, 2]."""
    a, b, c, d = (control * weights(t).unsqueeze(-1)).unbind(-2)
    return a + b + c + d


def sampled(control: Tensor) -> Tensor:
    """Return points [..., SEGMENTS + 1, 2] along each curve [..., 4, 2], at equal steps of its parameter t."""
    return point(control.unsqueeze(-3), torch.linspace(0, 1, SEGMENTS + 1))


def length(v: Tensor) -> Tensor:
    """Return the lengths [...] of vectors [..., 2]."""
    return torch.sqrt(v[..., 0] * v[..., 0] + v[..., 1] * v[..., 1])


def drawings(strokes: Tensor, written: Tensor, keys: Tensor) -> Tensor:
    """Render drawings of each class.

    Args:
        strokes: control points with coordinates from -1 to 1, float32 [C, S, 4, 2].
        written: mask of the strokes to draw, bool [C, S].
        keys: key of the random numbers of each drawing, int64 [C, D].

    Returns:
        Images, float32 [C, D, SIDE, SIDE], with values from 0 (background) to 1 (strokes).
    """
    blend, spacing = _stops(strokes, written)
    deviations = _uniform(keys, 8 * strokes.shape[1] + 8)
    x, y = _placed(strokes.flatten(1, 2), deviations)
    # After rounding to these coarse grids, the products are exact in float64, regardless of the order of summation.
    blend = (blend * 2**20).round().to(torch.float64)
    control = (torch.cat([x, y], 1) * 2**12).round().to(torch.float64)
    places = (blend @ control.mT * (2.0**-32 * _PLACES)).round().clamp(0, SIDE * _PLACES - 1)  # [C, P, 2*D]
    pen = ((deviations[..., 6:7] + 1) * (len(_PENS) / 2)).floor() * (SIDE * _PLACES)
    rows = (places.reshape(*places.shape[:2], 2, -1).permute(2, 0, 3, 1) + pen).to(torch.int32)  # [2, C, D, P]
    gain = _INK * _REACH / 255.0**2 * spacing
    return (_inked(rows.flatten(1, 2)).reshape(*keys.shape, SIDE, SIDE) * gain[:, None, None, None]).clamp_(max=1)


def _inked(rows: Tensor) -> Tensor:
    """Add up the dots of each drawing. Returns images [D, SIDE, SIDE].

    Args:
        rows: [2, D, P], the rows of `_profiles` with the horizontal and the vertical profile of each dot.
    """
    images = torch.empty(rows.shape[1], SIDE, SIDE)
    for start in range(0, len(images), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        horizontal, vertical = F.embedding(rows[:, chunk], _profiles())  # [d, P, SIDE] each
        torch.bmm(vertical.mT, horizontal, out=images[chunk])
    return images


def _stops(strokes: Tensor, written: Tensor) -> tuple[Tensor, Tensor]:
    """Place P dots at equal distances along the strokes that `written` selects in each class.

    Returns:
        The weight of each control point in the position of each dot, float32 [C, P, S*4], and the distance between
        dots, float32 [C].
    """
    lengths = (length(sampled(strokes).diff(dim=2)) * written.unsqueeze(-1)).flatten(1)
    ends = lengths.cumsum(1)
    spacing = ends[:, -1:] / STOPS
    stops = spacing * (torch.arange(STOPS) + 0.5)
    segment = torch.searchsorted(ends, stops)
    left = (ends.gather(1, segment) - stops) / lengths.gather(1, segment)
    t = (segment % SEGMENTS + 1 - left) / SEGMENTS
    of_stroke = F.one_hot(segment // SEGMENTS, strokes.shape[1])
    return (of_stroke.unsqueeze(-1) * weights(t).unsqueeze(-2)).flatten(2), spacing.squeeze(1)


def _placed(control: Tensor, deviations: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixel coordinates x and y of the control points [C, S*4, 2] in each drawing, both [C, D, S*4].

    Args:
        deviations: deviations of the drawings from their class, from -1 to 1, [C, D, 8 + 2*S*4].
    """
    turn, slant, width, height, right, low = (deviations[..., i : i + 1] for i in range(6))
    wobble_x, wobble_y = deviations[..., 8:].chunk(2, -1)
    x = control[:, None, :, 0] + _WOBBLE * wobble_x
    y = control[:, None, :, 1] + _WOBBLE * wobble_y
    middle = (SIDE - 1) / 2
    across = x + (_SLANT * slant - _TURN * turn) * y  # a small rotation is approximately two slants
    down = y + _TURN * turn * x
    return (
        middle + _SHIFT * right + _REACH * (1 + _SIZE * width) * across,
        middle + _SHIFT * low + _REACH * (1 + _SIZE * height) * down,
    )


@functools.cache
def _profiles() -> Tensor:
    """Tabulate the brightness of a dot along a row of pixels, for each pen width and each position of the dot.

    Returns:
        float32 [pens * SIDE * _PLACES, SIDE]. The values are integers up to 255, so that sums of their products are
        exact.
    """
    away = torch.arange(SIDE) - torch.arange(SIDE * _PLACES).unsqueeze(1) / _PLACES
    return (255 * torch.exp(-0.5 * (away / _PENS[:, None, None]) ** 2)).round().flatten(0, 1)


def _uniform(key: Tensor, count: int) -> Tensor:
    """Return `count` random numbers in [-1, 1) for each key, float32 [..., count], in steps of 2^-15.

    Args:
        count: must be a multiple of 4.
    """
    return random.bits(key, count // 4).view(torch.int16).to(torch.float32) * 2.0**-15
