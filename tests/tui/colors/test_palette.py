"""Tests of the colours of runs and their shades."""

from __future__ import annotations

import itertools

import pytest

from metatui.tui.colors import palette


def test_colours_of_runs_are_distinct() -> None:
    for dark in (True, False):
        shades = [palette.shade(name, dark) for name in (*palette.RUN_HUES, palette.BEFORE, palette.TRUTH)]
        assert len(set(shades)) == len(shades)


def test_shade_depends_on_the_background() -> None:
    dark, light = (palette.shade(palette.RUN_HUES[1], dark) for dark in (True, False))
    assert palette.shade(dark, dark=False) == light
    assert palette.shade(light, dark=True) == dark
    assert palette.shade("#123456", dark=True) == "#123456"
    assert palette.shade(palette.TRAIN, dark=True, ansi=True) == "bright_blue"


def _linear(shade: str) -> list[float]:
    parts = [int(shade[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
_BLINDNESS = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def _lab(rgb: list[float]) -> list[float]:
    weights = ((0.4339, 0.3762, 0.1899), (0.2126, 0.7152, 0.0722), (0.0177, 0.1095, 0.8728))
    x, y, z = (sum(w * part for w, part in zip(row, rgb, strict=True)) for row in weights)
    x, y, z = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in (x, y, z))
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("blindness", _BLINDNESS)
def test_colours_of_runs_with_colour_vision_deficiency(dark: bool, blindness: str) -> None:
    seen = {}
    for name in (*palette.RUN_HUES, palette.BEFORE, palette.TRUTH):
        rgb = _linear(palette.shade(name, dark))
        mixed = [sum(w * part for w, part in zip(row, rgb, strict=True)) for row in _BLINDNESS[blindness]]
        seen[name] = _lab([min(1.0, max(0.0, part)) for part in mixed])
    for one, other in itertools.combinations(seen, 2):
        difference = sum((a - b) ** 2 for a, b in zip(seen[one], seen[other], strict=True)) ** 0.5
        assert difference > 15, (one, other)
