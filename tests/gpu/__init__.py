"""One command that tests and measures metatui on a real GPU. See README.md in this folder."""
