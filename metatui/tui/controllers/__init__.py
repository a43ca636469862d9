"""Controllers that carry out the app's actions."""
