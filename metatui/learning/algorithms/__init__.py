"""Meta-learning algorithms, one file each, written like the pseudo-code of their papers."""
