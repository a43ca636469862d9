"""Engines, which compute inner loops and meta-gradients. They differ only in speed and memory."""
