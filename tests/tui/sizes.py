"""Terminal sizes of the snapshots."""

from __future__ import annotations

SIZES = ((80, 24), (120, 40), (160, 48), (200, 60))
"""Width and height in cells. The layouts are designed for these sizes."""
