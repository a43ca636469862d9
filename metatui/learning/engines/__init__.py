"""Engines: how inner loops and meta-gradients are computed. All agree; they differ in speed and memory."""
