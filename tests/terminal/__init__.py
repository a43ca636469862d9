"""The whole program under a pseudo-terminal, and the screen that a person at it would see."""
