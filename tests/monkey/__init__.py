"""Test of the app with random keys, clicks and resizes during training: `python -m tests.monkey`."""
