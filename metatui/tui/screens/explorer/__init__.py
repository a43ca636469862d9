"""Explorer screen: the models of up to three runs adapt to one held-out task, inner step by inner step."""
