"""Whole meta-steps as compiled graphs, for small networks: their cost is dispatch, which a graph does without."""
