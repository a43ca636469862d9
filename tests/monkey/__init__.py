"""Random keys, clicks and resizes during training: `python -m tests.monkey`."""
