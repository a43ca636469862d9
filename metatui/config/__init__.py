"""Settings and everything about them: fields, constraints, TOML, presets, scheduled changes."""
