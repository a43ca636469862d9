"""The terminal: keyboard, drawing, suspend, refresh."""
