"""Following a run: sessions, events, history."""
