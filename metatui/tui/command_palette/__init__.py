"""The command palette: its screen, and providers of actions, settings, presets, runs and help topics."""
