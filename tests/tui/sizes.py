"""Terminal sizes at which snapshots are taken."""

from __future__ import annotations

SIZES = ((80, 24), (120, 40), (160, 48), (200, 60))
"""Terminal sizes (columns, rows) for which the layouts of the app are designed."""
