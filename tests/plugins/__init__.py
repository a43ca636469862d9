"""Example plugins, as a user could write them after reading `metatui/README.md`, and their tests."""
