"""Controllers owned by the app."""
