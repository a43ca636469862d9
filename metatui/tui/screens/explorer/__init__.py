"""Explorer screen: one held-out task, adapted by up to three runs, inner step by inner step."""
