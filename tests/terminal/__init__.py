"""Tests of the whole program in a pseudo-terminal, with an emulator for its screen."""
