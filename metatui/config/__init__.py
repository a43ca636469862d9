"""Settings: fields, constraints, TOML files, presets and scheduled changes."""
