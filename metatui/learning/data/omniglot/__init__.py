"""Omniglot: 1,623 handwritten characters of 50 alphabets (Lake et al. 2015)."""
