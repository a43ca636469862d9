"""Engines, which compute inner loops and meta-gradients. Their results agree; speed and memory differ."""
