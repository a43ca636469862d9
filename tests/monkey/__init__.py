"""`python -m tests.monkey`: random keys, clicks and resizes while runs train."""
