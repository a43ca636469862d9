"""Run folders on disk: settings, journal, metrics, results and checkpoints."""
