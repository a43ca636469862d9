"""Actions of the app and their keys."""
