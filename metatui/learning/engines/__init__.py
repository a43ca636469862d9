"""Engines: how inner loops and meta-gradients are computed. Their results agree; speed and memory differ."""
