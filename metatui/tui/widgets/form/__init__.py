"""The form of all settings."""
