"""`python -m tests.monkey`: somebody who presses every key, clicks everywhere and resizes, while runs train."""
