"""Tests of the whole program in a pseudo-terminal. An emulator computes what the screen shows."""
