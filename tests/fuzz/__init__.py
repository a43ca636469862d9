"""`python -m tests.fuzz`: everything that metatui reads from disk, broken in ten thousand ways."""
