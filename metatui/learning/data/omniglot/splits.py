"""Sizes of Omniglot and of its class splits.

This module does not import torch, so that settings are checked quickly at start-up.
"""

from __future__ import annotations

from collections.abc import Mapping

CHARACTERS: Mapping[str, Mapping[str, int]] = {
    "chapter": {"train": 1200, "val": 200, "test": 223},
    "finn": {"train": 1100, "val": 100, "test": 423},
    "lake": {"train": 832, "val": 132, "test": 659},
}
"""Number of characters in each part of each class split, without rotations."""

DRAWINGS = 20
"""Number of drawings of each character, one by each of twenty people."""
